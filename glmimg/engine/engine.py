"""The engine: loads the stages of one model as memory allows, and is the only place that writes and paints.

It knows nothing about files. Results go to disk through `orders` or, in a batch, the workbench.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Self, TypeVar

from glmimg.engine.memory import AHEAD_SHARE, describe
from glmimg.engine.scope import Scope
from glmimg.engine.stages import PaintStage, Stages, TokenStage
from glmimg.errors import OutOfMemory
from glmimg.events import JobStarted, Loading, Noted, Watch, unwatched
from glmimg.grid import Role
from glmimg.image_io import Picture
from glmimg.job import Painting
from glmimg.runtime.checkpoint import Half
from glmimg.runtime.layout import Layout
from glmimg.runtime.machine import free_host_bytes, importing, is_out_of_memory, release_memory
from glmimg.runtime.readahead import ReadAhead
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.unfinished import Part

Result = TypeVar("Result")

LOADING: dict[Half, str] = {"ar": "AR model", "dit": "decoder"}


class Engine:
    """Both stages of one model, one loaded at a time unless both may stay.

    scope:     the largest work to expect; decides the memory layout
    keep_both: whether a stage stays loaded while the other works
    watch:     is told what happens
    """

    def __init__(self, stages: Stages, scope: Scope, watch: Watch = unwatched, *, keep_both: bool = False) -> None:
        self.stages = stages
        self.scope = scope
        self.watch = watch
        self.keep_both = keep_both or stages.stays
        self._loaded: dict[Half, Any] = {}
        self._layouts: dict[Half, Layout] = {}
        self._is_smaller: set[Half] = set()
        self._most_rows: int | None = None

    def write(self, works: Sequence[TokenWork], *, then_paint: bool = False) -> Iterator[TokenDump]:
        """Stage 1: the dump of each work, in order; a batch is yielded when it is whole.

        Works that differ in their painting alone have their tokens drawn once.

        then_paint: stage 2 follows, so its files are read ahead in the background
        raises: ModelUnfit (exit 4), OutOfMemory (exit 5), BadImage (exit 3) for a source that is gone
        """
        left = Counter(work.job.stage_one for work in works)
        firsts = {work.job.stage_one: work for work in reversed(works)}
        drawn = self._draw([work for work in works if firsts[work.job.stage_one] is work], then_paint)
        dumps: dict[object, TokenDump] = {}
        for tokens, work in ((work.job.stage_one, work) for work in works):
            dump = dumps[tokens] if tokens in dumps else dumps.setdefault(tokens, next(drawn))
            left[tokens] -= 1
            if not left[tokens]:
                del dumps[tokens]
            yield dump.model_copy(update={"painting": work.job.painting})
        next(drawn, None)  # to its end

    def _draw(self, works: Sequence[TokenWork], then_paint: bool) -> Iterator[TokenDump]:
        number = 0
        with self._reading_ahead(then_paint):
            for _, group in groupby(works, key=lambda work: work.kind):
                alike = list(group)
                while alike:
                    rows = self._rows(alike[0])
                    batch, alike = alike[:rows], alike[rows:]
                    self.watch(JobStarted("tokens", number + 1, len(works), len(batch)))
                    yield from self._write(batch)
                    number += len(batch)

    def paint(self, dump: TokenDump, painting: Painting, grid: Role = "target", part: Part | None = None) -> Picture:
        """Stage 2: a picture of one grid of a dump, with its provenance. Raises as `write`. part: as of `PaintStage`"""
        drawn = dump.as_target(grid)
        image = self._run("dit", lambda stage: stage.paint(drawn, painting, self.watch, part))
        made = self.stages.provenance(dump, painting, grid)
        if self._layouts["dit"].decodes_in_strips(drawn.height, drawn.width):
            made = made.model_copy(update={"dtype": f"{made.dtype}, decoded in strips"})
        return Picture(image, made, dump)

    def change(self, work: Callable[[TokenStage], Result]) -> Result:
        """What stage 1 makes in another way than by `write`: a dump redrawn, scored, encoded. Raises as `write`."""
        return self._run("ar", work)

    def tokens(self) -> TokenStage:
        """Stage 1, loaded."""
        return self.load("ar")  # type: ignore[no-any-return]

    def painter(self) -> PaintStage:
        """Stage 2, loaded."""
        return self.load("dit")  # type: ignore[no-any-return]

    def close(self) -> None:
        for half in list(self._loaded):
            self._close(half)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _rows(self, work: TokenWork) -> int:
        rows = self.change(lambda stage: stage.rows_that_fit(work))
        return min(rows, self._most_rows or rows)

    def _write(self, batch: list[TokenWork]) -> list[TokenDump]:
        """A batch that does not fit is halved; a single work that does not is tried in a smaller layout."""
        if len(batch) == 1:
            return self.change(lambda stage: stage.write(batch, self.watch))
        try:
            return self.tokens().write(batch, self.watch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if self._most_rows is None:
            self.watch(Noted(f"{len(batch)} jobs at once do not fit in memory: continuing with fewer at a time"))
        half = self._most_rows = (len(batch) + 1) // 2
        release_memory()
        return [*self._write(batch[:half]), *self._write(batch[half:])]

    def _run(self, half: Half, work: Callable[[Any], Result]) -> Result:
        """Work on a loaded stage; if memory runs out, retry once in a smaller layout, if there is one.

        raises: OutOfMemory (exit 5) with what would take less
        """
        try:
            return work(self.load(half))
        except (MemoryError, RuntimeError, OutOfMemory) as error:
            explained = self._explain(half, error)
            layout = self._layouts.get(half)
            smaller = self.stages.smaller(half, layout) if layout and half not in self._is_smaller else None
            if smaller is None:
                raise explained from error
        self.watch(Noted(f"{explained.message}; trying once more: {describe(smaller)}"))
        self._close(half)
        release_memory()
        self._layouts[half] = smaller
        self._is_smaller.add(half)
        return self._run(half, work)

    def _explain(self, half: Half, error: BaseException) -> OutOfMemory:
        """What to raise for an error of a stage. Raises the error itself if it is about something else."""
        if not is_out_of_memory(error) or (isinstance(error, OutOfMemory) and error.is_planned):
            raise error
        return self.stages.explain(half, self._layouts.get(half, Layout()), self.scope)

    def load(self, half: Half) -> Any:
        """A stage, loaded now if it is not yet; the other one is unloaded first unless both may stay."""
        if half not in self._loaded:
            if not self.keep_both:
                self.close()
            self.watch(Loading(LOADING[half]))  # before torch is imported: that alone takes seconds
            with importing():
                if half not in self._layouts:
                    self._layouts[half] = self.stages.layout(half, self.scope)
                load = self.stages.load_tokens if half == "ar" else self.stages.load_painter
                self._loaded[half] = load(self._layouts[half], self.scope, self.watch)
        return self._loaded[half]

    def _close(self, half: Half) -> None:
        stage = self._loaded.pop(half, None)
        if stage is not None:
            stage.close()

    @contextmanager
    def _reading_ahead(self, then_paint: bool) -> Iterator[None]:
        """While stage 1 works, read the files of stage 2 into the page cache."""
        files = getattr(self.stages, "files_of_stage_2", None)
        if not then_paint or "dit" in self._loaded or files is None:
            yield
            return
        ahead = ReadAhead(files(), int(free_host_bytes() * AHEAD_SHARE))
        try:
            yield
        finally:
            ahead.close()
