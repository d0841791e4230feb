"""The order in which the jobs of a batch are drawn on one machine.

On one device in rounds: stage 1 for many jobs, then stage 2 for each. Where both stages fit, both stay loaded and a
round is one batch of stage 1, so that pictures come early; else one round holds all jobs, so that each stage is loaded
once. On several devices side by side: dumps flow from stage 1 to the decoders through the disk, and only the names of
jobs pass between the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from queue import Queue

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.survey import Survey
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.engine.engine import Engine

Round = tuple[list[list[BatchJob]], list[BatchJob]]
"""Jobs that go through both stages together: batches for stage 1, and jobs that already have a dump."""

Results = Queue[Outcome | BaseException | None]


def plan_rounds(work: Survey, rows: int, round_size: int | None) -> Iterator[Round]:
    """The rounds of a batch; `round_size` None makes one of everything."""
    batches = plan_batches(work.write, work.alone, rows)
    if round_size is None:
        yield list(batches), work.paint
        return
    if work.paint:
        yield [], work.paint
    gathered: list[list[BatchJob]] = []
    for batch in batches:
        gathered.append(batch)
        if sum(map(len, gathered)) >= round_size:
            yield gathered, []
            gathered = []
    if gathered:
        yield gathered, []


def plan_batches(jobs: Sequence[BatchJob], alone: set[str], size: int) -> Iterator[list[BatchJob]]:
    """Jobs stage 1 can draw at once: of one shape and sampling, at most `size`; the names in `alone` last, by one."""
    together = sorted((job for job in jobs if job.name not in alone), key=_shape)
    for _, alike in groupby(together, key=_shape):
        group = list(alike)
        yield from (group[start : start + size] for start in range(0, len(group), size))
    yield from ([job] for job in jobs if job.name in alone)


def draw_in_rounds(bench: Workbench, rounds: Iterable[Round], engine: Engine) -> Iterator[Outcome]:
    """One stage after the other on one device."""
    for batches, dumps in rounds:
        ready = [Outcome(job, "written") for job in dumps]
        for batch in batches:
            for outcome in bench.write(engine, batch):
                if outcome.state == "written":
                    ready.append(outcome)
                yield outcome
        for written in ready:
            yield bench.paint(engine, written.job, written.seconds)


def draw_side_by_side(
    bench: Workbench,
    batches: Iterator[list[BatchJob]],
    dumps: Sequence[BatchJob],
    writer: Engine,
    painters: Sequence[Engine],
) -> Iterator[Outcome]:
    """Both stages at once, each on its own device.

    batches: for stage 1; dumps: jobs that have theirs already
    raises:  the error of the first unit of work that fails for good, when all have stopped
    """
    ready: Queue[Outcome | None] = Queue()
    results: Results = Queue()
    failed = threading.Event()
    for job in dumps:
        ready.put(Outcome(job, "written"))

    def write() -> None:
        try:
            with writer:
                while not failed.is_set() and (batch := next(batches, None)) is not None:
                    for outcome in bench.write(writer, batch):
                        results.put(outcome)
                        if outcome.state == "written":
                            ready.put(outcome)
        finally:
            for _ in painters:
                ready.put(None)

    def paint(engine: Engine) -> None:
        with engine:
            while (written := ready.get()) is not None and not failed.is_set():
                results.put(bench.paint(engine, written.job, written.seconds))

    works: list[Callable[[], None]] = [write, *(partial(paint, engine) for engine in painters)]
    for work in works:
        threading.Thread(target=_reporting, args=(work, results, failed), daemon=True).start()
    yield from _gather(results, failed, len(works))


def _reporting(work: Callable[[], None], results: Results, failed: threading.Event) -> None:
    """Run a thread's work; its end, or the error that ended it, is the last item it puts into `results`."""
    try:
        work()
    except BaseException as error:
        failed.set()
        results.put(error)
    else:
        results.put(None)


def _gather(results: Results, failed: threading.Event, running: int) -> Iterator[Outcome]:
    error: BaseException | None = None
    try:
        while running:
            result = results.get()
            if isinstance(result, Outcome):
                yield result
                continue
            running -= 1
            error = error or result
    finally:
        failed.set()
    if error is not None:
        raise error


def _shape(job: BatchJob) -> tuple[object, ...]:
    scene, sampling = job.job.scene, job.job.sampling
    return *scene.size, sampling.model_dump_json(exclude={"seed"}), not scene.sources
