"""Jobs that killed their process before, drawn in a process of their own, so that the batch survives them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.schedule import draw_in_rounds
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.engine.engine import Engine
from glmimg.engine.stages import Scope, Stages
from glmimg.errors import GlmimgError


def draw_isolated(bench: Workbench, stages: Stages, jobs: Sequence[BatchJob]) -> Iterator[Outcome]:
    """Each job in a fresh process; one that dies is a failed job. Raises as `Workbench.write`."""
    for job in jobs:
        bench.check_stop()
        outcome = _draw_one(bench, stages, job)
        bench.ledger.refresh()
        yield outcome


def _draw_one(bench: Workbench, stages: Stages, job: BatchJob) -> Outcome:
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe(duplex=False)
    errand = (stages, bench.store.root, bench.metadata, job, theirs)
    process = spawn.Process(target=_child, args=errand, daemon=True)
    process.start()
    theirs.close()
    try:
        outcome: Outcome | GlmimgError | None = mine.recv()
    except EOFError:
        outcome = None
    process.join()
    if isinstance(outcome, GlmimgError):
        raise outcome
    if outcome is not None:
        return outcome
    bench.store.forgive(job.name)
    code = process.exitcode
    end = signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"
    return bench.fail(job, f"the process working on it died ({end})")


def _child(stages: Stages, place: str, metadata: bool, job: BatchJob, answers: Connection) -> None:
    """Runs in the other process: Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bench = Workbench.at(place, stages, metadata)
    answer: Outcome | GlmimgError = Outcome(job, "held")
    try:
        with Engine(stages, Scope.of([job.job])) as engine:
            for outcome in draw_in_rounds(bench, [([[job]], [])], engine):
                answer = outcome
    except GlmimgError as error:
        answer = plain(error)
    answers.send(answer)


def plain(error: GlmimgError) -> GlmimgError:
    """The same error in a form that can be pickled, whatever its own constructor asks for."""
    plain = GlmimgError(error.message, error.hint)
    plain.exit_code = error.exit_code
    return plain
