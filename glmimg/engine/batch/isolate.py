"""Jobs that killed their process before, drawn in a process of their own, so that the batch survives them."""

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
from glmimg.engine.stages import Scope, Stages
from glmimg.errors import DeviceLost, GlmimgError, Interrupted

ENDS = {signal.SIGINT, signal.SIGTERM}
"""Signals that the terminal or a supervisor may send to every process of ours; they are the parent's to heed."""

Answer = Outcome | GlmimgError | str
"""What became of a job, what concerns more than it, or why it failed."""


def draw_isolated(bench: Workbench, stages: Stages, jobs: Sequence[BatchJob]) -> Iterator[Outcome]:
    """Each job in a fresh process; one that dies is a failed job. Raises as `Workbench.write`."""
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
    """Start a process for a job and wait for its answer. Raises Interrupted (exit 130) if the wait is broken off."""
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
    """Hold signals back while a process starts: it inherits that, and never has them; we have them afterwards."""
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
    except Exception as error:  # whatever it is, it is this job's end and not the batch's
        answer = failure_text(error)
    answers.send(answer)


def _end_with_parent() -> None:
    """Write nothing on when the parent is gone, and its claims with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end(process: BaseProcess) -> str:
    code = process.exitcode
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"
