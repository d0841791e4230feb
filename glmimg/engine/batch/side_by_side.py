"""A batch on several devices of one machine: stage 1 on the first, decoders on the others, at the same time.

Dumps flow from one to the others through the disk; only the names of jobs pass between the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import Queue

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.engine.engine import Engine


def draw_side_by_side(
    bench: Workbench,
    batches: Iterator[list[BatchJob]],
    dumps: Sequence[BatchJob],
    writer: Engine,
    painters: Sequence[Engine],
) -> Iterator[Outcome]:
    """Both stages at once, each on a device of its own.

    batches: for stage 1; dumps: jobs that have theirs already
    raises:  what the first unit of work to fail for good raises, when all have stopped
    """
    ready: Queue[BatchJob | None] = Queue()
    results: Queue[Outcome | BaseException | None] = Queue()
    failed = threading.Event()
    for job in dumps:
        ready.put(job)

    def write() -> None:
        try:
            with writer:
                while not failed.is_set() and (batch := next(batches, None)) is not None:
                    for outcome in bench.write(writer, batch):
                        results.put(outcome)
                        if outcome.state == "written":
                            ready.put(outcome.job)
        finally:
            for _ in painters:
                ready.put(None)

    def paint(engine: Engine) -> None:
        with engine:
            while (job := ready.get()) is not None and not failed.is_set():
                results.put(bench.paint(engine, job))

    works: list[Callable[[], None]] = [write, *(partial(paint, engine) for engine in painters)]
    for work in works:
        threading.Thread(target=_reporting, args=(work, results, failed), daemon=True).start()
    yield from _gather(results, failed, len(works))


def _reporting(
    work: Callable[[], None], results: Queue[Outcome | BaseException | None], failed: threading.Event
) -> None:
    """Run a thread's work; its end, or what ended it, is the last thing it puts into `results`."""
    try:
        work()
    except BaseException as error:
        failed.set()
        results.put(error)
    else:
        results.put(None)


def _gather(results: Queue[Outcome | BaseException | None], failed: threading.Event, running: int) -> Iterator[Outcome]:
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
