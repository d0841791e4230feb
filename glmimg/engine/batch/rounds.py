"""A batch on one machine: rounds of stage 1 for many jobs, then stage 2 for each.

Where both stages fit, both stay loaded and a round is one batch of stage 1, so that pictures come
early. Where they do not, one round holds all jobs, so that each stage is loaded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.stages import PaintStage, Stages, TokenStage
from glmimg.engine.batch.survey import Survey
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.events import Watch


@dataclass(frozen=True)
class Round:
    """Jobs that pass both stages together. batches: for stage 1; dumps: jobs that have theirs already."""

    batches: list[list[BatchJob]]
    dumps: list[BatchJob]


def plan_rounds(work: Survey, *, ar_batch: int, round_size: int | None) -> Iterator[Round]:
    """The rounds of a batch; `round_size` None makes one of everything."""
    batches = plan_batches(work.write, work.alone, ar_batch)
    if round_size is None:
        yield Round(list(batches), work.paint)
        return
    if work.paint:
        yield Round([], work.paint)
    gathered: list[list[BatchJob]] = []
    for batch in batches:
        gathered.append(batch)
        if sum(map(len, gathered)) >= round_size:
            yield Round(gathered, [])
            gathered = []
    if gathered:
        yield Round(gathered, [])


def plan_batches(jobs: Sequence[BatchJob], alone: set[str], size: int) -> Iterator[list[BatchJob]]:
    """Jobs stage 1 can draw at once: of one shape and sampling, at most `size`; the names in `alone` last, by one."""
    together = sorted((job for job in jobs if job.name not in alone), key=_shape)
    for _, alike in groupby(together, key=_shape):
        group = list(alike)
        yield from (group[start : start + size] for start in range(0, len(group), size))
    yield from ([job] for job in jobs if job.name in alone)


def draw_in_rounds(bench: Workbench, rounds: Iterator[Round], *, keep_both: bool) -> Iterator[Outcome]:
    """One stage after the other on one device."""
    with Loaded(bench.stages, bench.tell, keep_both=keep_both) as loaded:
        for each in rounds:
            ready = list(each.dumps)
            for batch in each.batches:
                for outcome in bench.write(loaded.tokens(), batch):
                    if outcome.state == "written":
                        ready.append(outcome.job)
                    yield outcome
            for job in ready:
                yield bench.paint(loaded.painter(), job)


class Loaded(AbstractContextManager["Loaded"]):
    """The stages as they are needed, one at a time unless both may stay."""

    def __init__(self, stages: Stages, watch: Watch, *, keep_both: bool) -> None:
        self.stages = stages
        self.watch = watch
        self.keep_both = keep_both
        self._tokens: TokenStage | None = None
        self._painter: PaintStage | None = None

    def tokens(self) -> TokenStage:
        """Stage 1, loaded."""
        if self._tokens is None:
            if not self.keep_both:
                self.close()
            self._tokens = self.stages.load_tokens(self.watch)
        return self._tokens

    def painter(self) -> PaintStage:
        """Stage 2, loaded."""
        if self._painter is None:
            if not self.keep_both:
                self.close()
            self._painter = self.stages.load_painter(self.watch)
        return self._painter

    def close(self) -> None:
        """Free both."""
        for stage in (self._tokens, self._painter):
            if stage is not None:
                stage.close()
        self._tokens = self._painter = None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _shape(job: BatchJob) -> tuple[object, ...]:
    return job.job.height, job.job.width, job.job.sampling.model_dump_json(), not job.job.sources
