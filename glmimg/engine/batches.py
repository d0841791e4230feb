"""Token grids in batches: jobs of one kind drawn at once, fewer at a time when memory does not hold them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from glmimg.events import JobStarted, Noted, Watch
from glmimg.grid import Role
from glmimg.job import Job
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from glmimg.ar.stage import ARStage


@dataclass(frozen=True)
class TokenWork:
    """A job for stage 1.

    begun: a dump of its preview, to go on from
    until: the last grid to draw
    """

    job: Job
    begun: TokenDump | None = None
    until: Role = "target"

    @property
    def kind(self) -> tuple[object, ...]:
        """What jobs of one batch have in common."""
        return self.job.height, self.job.width, self.job.sampling, self.begun is None, self.until, not self.job.sources


class BatchWriter:
    """Runs work through the AR stage, `rows` at a time; halves them when memory runs out.

    is_out_of_memory: tells errors that mean it from others
    """

    def __init__(self, stage: ARStage, watch: Watch, is_out_of_memory: Callable[[BaseException], bool]) -> None:
        self.stage = stage
        self.watch = watch
        self.is_out_of_memory = is_out_of_memory
        self.limit: int | None = None

    def write(self, works: Sequence[TokenWork]) -> Iterator[TokenDump]:
        """The dump of each work, in order; yields a batch when it is whole."""
        number = 0
        for _, group in groupby(works, key=lambda work: work.kind):
            alike = list(group)
            while alike:
                rows = self.stage.rows_that_fit(alike[0].job)
                batch = alike[: min(rows, self.limit or rows)]
                alike = alike[len(batch) :]
                self.watch(JobStarted("tokens", number + 1, len(works), len(batch)))
                yield from self._write(batch)
                number += len(batch)

    def _write(self, batch: list[TokenWork]) -> list[TokenDump]:
        try:
            return self.stage.write_batch(
                [work.job for work in batch],
                self.watch,
                begun=[work.begun for work in batch if work.begun is not None],
                until=batch[0].until,
            )
        except (MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not self.is_out_of_memory(error):
                raise
        self._halve(len(batch))
        half = (len(batch) + 1) // 2
        return [*self._write(batch[:half]), *self._write(batch[half:])]

    def _halve(self, rows: int) -> None:
        if self.limit is None:
            self.watch(Noted(f"{rows} jobs at once do not fit in memory: going on with fewer at a time"))
        self.limit = (rows + 1) // 2
        gc.collect()
        import torch

        if torch.accelerator.is_available():
            torch.accelerator.memory.empty_cache()
