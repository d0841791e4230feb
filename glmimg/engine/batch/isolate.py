"""Jobs that killed their process before, drawn in a process of their own, so that the batch survives them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from glmimg.engine.batch.events import BatchEvent
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger, make_record
from glmimg.engine.batch.places import open_store
from glmimg.engine.batch.rounds import Round, draw_in_rounds
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.engine.engine import Engine
from glmimg.engine.stages import Scope, Stages
from glmimg.errors import GlmimgError
from glmimg.events import Event


@dataclass(frozen=True)
class _Errand:
    """What the other process needs to know."""

    stages: Stages
    place: str
    metadata: bool
    job: BatchJob


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
    errand = _Errand(stages, bench.store.root, bench.metadata, job)
    process = spawn.Process(target=_child, args=(errand, theirs), daemon=True)
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
    error = f"the process working on it died ({_end(process.exitcode)})"
    record = make_record(bench.ledger.model, job, "failed", error=error)
    bench.keep(record)
    return Outcome(job, "failed", record)


def _child(errand: _Errand, answers: Connection) -> None:
    """Runs in the other process: Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = open_store(errand.place)
    ledger = Ledger(store, errand.stages.model)
    bench = Workbench(store, ledger, _unheard, errand.metadata, ledger.add, lambda: False)
    answer: Outcome | GlmimgError = Outcome(errand.job, "held")
    try:
        with Engine(errand.stages, Scope.of([errand.job.job]), _unheard) as engine:
            for outcome in draw_in_rounds(bench, iter([Round([[errand.job]], [])]), engine):
                answer = outcome
    except GlmimgError as error:
        answer = plain(error)
    answers.send(answer)


def _unheard(event: BatchEvent | Event) -> None:
    """Nobody watches this process."""


def plain(error: GlmimgError) -> GlmimgError:
    """The same error in a form that can be pickled, whatever its own constructor asks for."""
    plain = GlmimgError(error.message, error.hint)
    plain.exit_code = error.exit_code
    return plain


def _end(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit {exit_code}"
