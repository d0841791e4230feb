"""Both stages kept loaded for jobs that arrive one at a time."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from glmimg.atomic import write_atomically
from glmimg.engine.batch.rounds import Loaded
from glmimg.engine.batch.stages import Stages
from glmimg.engine.failing import is_out_of_memory
from glmimg.engine.local import Order, Painted, PaintOrder
from glmimg.errors import OutOfMemory
from glmimg.events import Watch
from glmimg.image_io import Picture, encode_png
from glmimg.tokens.dump_file import write_dump


class LiveEngine:
    """Draws one order after the other. Stages load with the first one and stay, if both fit in memory.

    metadata: whether pictures carry their making
    """

    def __init__(self, stages: Stages, watch: Watch, *, metadata: bool = True) -> None:
        self.stages = stages
        self.watch = watch
        self.metadata = metadata
        self._loaded: Loaded | None = None

    def draw(self, order: Order) -> Painted:
        """Both stages for one order; its files are on disk when this returns. Raises as `LocalEngine.draw`."""
        try:
            return self._draw(order)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory("out of memory", "Try a smaller --size or --dtype bf16.") from error

    def _draw(self, order: Order) -> Painted:
        loaded = self._loaded = self._loaded or Loaded(self.stages, self.watch, keep_both=self.stages.both_fit())
        dump = loaded.tokens().write_all([order.job], self.watch)[0]
        if order.dump_path is not None:
            write_dump(dump, order.dump_path)
        stage, settings = loaded.painter(), order.job.painting
        started = time.perf_counter()
        image = stage.paint(dump, settings, self.watch)
        seconds = time.perf_counter() - started
        picture = Picture(image, self.stages.making(dump, settings))
        if order.picture_path is not None:
            write_atomically(Path(order.picture_path), encode_png(picture, metadata=self.metadata))
        name = str(order.dump_path or "the dump")
        return Painted(PaintOrder(dump, settings, order.picture_path, name), picture, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loaded is not None:
            self._loaded.close()
