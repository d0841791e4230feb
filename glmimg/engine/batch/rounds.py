"""A batch on one machine: rounds of stage 1 for many jobs, then stage 2 for each.

Where both stages fit, both stay loaded and a round is one batch of stage 1, so that pictures come
early. Where they do not, one round holds all jobs, so that each stage is loaded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.survey import Survey
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.engine.engine import Engine


@dataclass(frozen=True)
class Round:
    """Jobs that pass both stages together. batches: for stage 1; dumps: jobs that have theirs already."""

    batches: list[list[BatchJob]]
    dumps: list[BatchJob]


def plan_rounds(work: Survey, *, rows: int, round_size: int | None) -> Iterator[Round]:
    """The rounds of a batch; `round_size` None makes one of everything."""
    batches = plan_batches(work.write, work.alone, rows)
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


def draw_in_rounds(bench: Workbench, rounds: Iterator[Round], engine: Engine) -> Iterator[Outcome]:
    """One stage after the other on one device."""
    for each in rounds:
        ready = list(each.dumps)
        for batch in each.batches:
            for outcome in bench.write(engine, batch):
                if outcome.state == "written":
                    ready.append(outcome.job)
                yield outcome
        for job in ready:
            yield bench.paint(engine, job)


def _shape(job: BatchJob) -> tuple[object, ...]:
    scene, sampling = job.job.scene, job.job.sampling
    return *scene.size, sampling.model_dump_json(exclude={"seed"}), not scene.sources
