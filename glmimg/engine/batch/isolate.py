"""Jobs during which a process died before, each drawn in a separate process so that the batch survives them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.schedule import draw_in_rounds
from glmimg.engine.batch.workbench import RESUME, BatchOptions, Outcome, Workbench, failure_text
from glmimg.engine.engine import Engine
from glmimg.engine.scope import Scope
from glmimg.engine.stages import Stages
from glmimg.errors import DeviceLost, GlmimgError, Interrupted

ENDS = {signal.SIGINT, signal.SIGTERM}
"""Signals that a terminal or supervisor may send to all our processes; only the parent handles them."""

Answer = Outcome | GlmimgError | str
"""The outcome of a job, an error that concerns the whole batch, or why the job failed."""


def draw_isolated(bench: Workbench, stages: Stages, jobs: Sequence[BatchJob]) -> Iterator[Outcome]:
    """Draw each job in a fresh process; if that dies, the job has failed. Raises as `Workbench.write`."""
    for job in jobs:
        bench.check_stop()
        answer = _draw_one(bench, stages, job)
        if isinstance(answer, GlmimgError):
            raise answer
        if isinstance(answer, str):
            bench.store.forgive(job.name)
            answer = bench.fail(job, answer)
        bench.ledger.refresh()
        yield answer


def _draw_one(bench: Workbench, stages: Stages, job: BatchJob) -> Answer:
    """Start a process for a job and wait for its answer. Raises Interrupted (exit 130) if interrupted."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe(duplex=False)
    errand = (stages, bench.store.root, bench.options, job, theirs)
    process = spawn.Process(target=_child, args=errand, daemon=True)
    with _held_back():
        process.start()
    theirs.close()
    try:
        answer: Answer = mine.recv()
    except EOFError:
        process.join()
        answer = f"the process working on it died ({_end(process)})"
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", RESUME) from error
    finally:
        process.kill()
        process.join()
    return answer


@contextmanager
def _held_back() -> Iterator[None]:
    """Block signals while a process starts: the child inherits the block, and we get them afterwards."""
    resource_tracker.ensure_running()  # a process of multiprocessing's own, which lets them through as it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(stages: Stages, place: str, options: BatchOptions, job: BatchJob, answers: Connection) -> None:
    """Runs in the other process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer: Answer = Outcome(job, "held")
    try:
        bench = Workbench.at(place, stages, options)
        with Engine(stages, Scope.of([job.job])) as engine:
            for outcome in draw_in_rounds(bench, [([[job]], [])], engine):
                answer = outcome
    except GlmimgError as error:
        answer = error.message if isinstance(error, DeviceLost) else error
    except Exception as error:  # whatever it is, it fails this job and not the batch
        answer = failure_text(error)
    answers.send(answer)


def _end_with_parent() -> None:
    """Exit when the parent is gone, since its claims are gone too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end(process: BaseProcess) -> str:
    code = process.exitcode
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"
