"""A batch on this machine, from the files that exist already until every job is done or recorded as failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from glmimg.engine.batch.isolate import draw_isolated
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger, Record
from glmimg.engine.batch.progress import BatchEvent, Count, JobMoved, Tell
from glmimg.engine.batch.schedule import draw_in_rounds, draw_side_by_side, plan_batches, plan_rounds
from glmimg.engine.batch.survey import Survey, survey
from glmimg.engine.batch.workbench import BatchOptions, Outcome, Workbench
from glmimg.engine.engine import Engine
from glmimg.engine.scope import Scope
from glmimg.engine.stages import Stages
from glmimg.events import Event, Noted
from glmimg.text import counted

WAIT_SECONDS = 0.5
"""Seconds between two checks of jobs that another process holds."""


class BatchEngine:
    """Draws what a survey found missing. `tell` receives the events, from one thread at a time."""

    def __init__(self, stages: Stages, ledger: Ledger, options: BatchOptions, tell: Tell) -> None:
        self.stages = stages
        self.ledger = ledger
        self.options = options
        self.count = Count(0)
        self._waiting = False
        self._tell_all = tell
        self._telling = threading.Lock()
        self.bench = Workbench(ledger, options)

    def stop(self) -> None:
        """Ask to stop after the current dumps or picture; safe in a signal handler."""
        self.bench.stopping = True

    def run(self, work: Survey) -> Iterator[Record]:
        """Draw; yields each record when it is on disk.

        raises: Interrupted (exit 130), WriteError (exit 1) for a full disk, DeviceLost (exit 1),
                OutOfMemory (exit 5) and ModelError (exit 4) while loading
        """
        self.count = Count.of(work, self.ledger.pace)
        self._tell(work)
        with self.ledger.store.present():
            while True:
                held: list[BatchJob] = []
                for outcome in self._draw(work):
                    yield from self._note(outcome, held)
                if not held:
                    return
                work = self._look_again(held)

    def _draw(self, work: Survey) -> Iterator[Outcome]:
        if jobs := [*work.write, *work.paint]:
            scope, devices = Scope.of([job.job for job in jobs]), self.stages.painting_devices()
            if devices and len(jobs) > 1:
                yield from self._side_by_side(work, scope, devices)
            else:
                yield from self._in_rounds(work, scope)
        if work.suspect:
            self._tell(
                Noted(f"{counted(len(work.suspect), 'job')} killed earlier runs; each is drawn in a separate process")
            )
            yield from draw_isolated(self.bench, self.stages, work.suspect)

    def _side_by_side(self, work: Survey, scope: Scope, devices: list[str]) -> Iterator[Outcome]:
        self.count.painters = len(devices)
        batches = plan_batches(work.write, work.alone, self.options.rows)
        painters = [Engine(self.stages.on(device), scope, self._tell) for device in devices]
        return draw_side_by_side(self.bench, batches, work.paint, Engine(self.stages, scope, self._tell), painters)

    def _in_rounds(self, work: Survey, scope: Scope) -> Iterator[Outcome]:
        keep_both = self.stages.both_fit(scope)
        size = self.options.round_size or (self.options.rows if keep_both else None)
        with Engine(self.stages, scope, self._tell, keep_both=keep_both) as engine:
            yield from draw_in_rounds(self.bench, plan_rounds(work, self.options.rows, size), engine)

    def _note(self, outcome: Outcome, held: list[BatchJob]) -> Iterator[Record]:
        """Count an outcome, report it, and return its record."""
        if outcome.state == "held":
            held.append(outcome.job)
        elif outcome.state == "written":
            self.count.written(outcome.seconds)
            self._tell(JobMoved(outcome.job.name, self.count.progress()))
        else:
            self.count.ended(outcome.record)
            if outcome.record is not None:
                self._tell(JobMoved(outcome.job.name, self.count.progress(), outcome.record))
                yield outcome.record

    def _look_again(self, held: list[BatchJob]) -> Survey:
        """Wait a little for jobs another process works on, then check which are left."""
        if not self._waiting:
            self._tell(Noted(f"another process is working on {len(held)} of the jobs; waiting for it"))
        self._waiting = True
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            self.bench.check_stop()
            time.sleep(0.05)
        self.ledger.refresh()
        work = survey(held, self.ledger, force=self.options.force)
        for _ in work.done:
            self.count.ended(None)
        return work

    def _tell(self, event: BatchEvent | Event) -> None:
        with self._telling:
            self._tell_all(event)
