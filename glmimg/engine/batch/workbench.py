"""The two units of work of a batch: writing dumps for a few jobs at once, and painting one picture.

Every engine (rounds here, side by side on several devices, actors on a cluster) does its work
through these, so that all give the same files. A unit claims its jobs, checks whether another
process was faster, saves, records, and releases them.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from glmimg.engine.batch.folder import Store, open_store
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger, Record
from glmimg.engine.batch.survey import Found, look, read_own_dump
from glmimg.engine.engine import Engine
from glmimg.engine.stages import AR_BATCH, Stages
from glmimg.errors import DeviceLost, GlmimgError, Interrupted, OutputError, WriteError
from glmimg.job import Job
from glmimg.metadata import QUALITY, format_of
from glmimg.runtime.machine import is_out_of_memory
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.unfinished import ENDING, Part, holds_unfinished

HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of writing a file that would also affect every other file."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job in one unit of work.

    written: its dump is on disk; painted, failed: it ended, with a record
    held:    another process works on it; gone: another process finished it
    seconds: its share of stage 1, if its dump was written in this unit
    """

    job: BatchJob
    state: Literal["written", "painted", "failed", "held", "gone"]
    record: Record | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is drawn; nothing here changes a pixel before it is written.

    rows:       jobs stage 1 works on at once
    round_size: jobs a round; None: all of them, or `rows` where both stages fit
    metadata:   whether pictures carry metadata
    force:      overwrite files the batch did not make
    quality:    of lossy pictures, 1 to 100
    """

    rows: int = AR_BATCH
    round_size: int | None = None
    metadata: bool = True
    force: bool = False
    quality: int = QUALITY


@dataclass
class Workbench:
    """Does the units of work. stopping: whether to start no further unit"""

    ledger: Ledger
    options: BatchOptions
    stopping: bool = False
    stale: set[str] = field(default_factory=set)
    """Files that may be overwritten: of no use, and the batch's own or anybody's with `force`."""

    run: str = ""
    """Of a cluster, whose workers do again what a lost one did: by it they know what ended in this run already."""

    @classmethod
    def at(cls, place: str, stages: Stages, options: BatchOptions, run: str = "") -> Self:
        """One for another process, at the place it shares with the others."""
        return cls(Ledger(open_store(place), stages.model), options, run=run)

    @property
    def store(self) -> Store:
        return self.ledger.store

    def write(self, engine: Engine, jobs: Sequence[BatchJob]) -> list[Outcome]:
        """Stage 1 for jobs of one shape. Raises Interrupted, WriteError for a full disk, DeviceLost."""
        self.check_stop()
        with ExitStack() as claims:
            mine = [job for job in jobs if claims.enter_context(self.store.claim(job.name))]
            outcomes = [Outcome(job, "held") for job in jobs if job not in mine]
            self.ledger.refresh()
            missing = []
            for job in mine:
                try:
                    state = self._find(job).state
                except OutputError as error:
                    outcomes.append(self.fail(job, error.message, is_own=False))
                    continue
                if state == "write":
                    missing.append(job)
                else:
                    outcomes.append(Outcome(job, "gone" if state == "done" else "written"))
            return [*outcomes, *(self._write(engine, missing) if missing else ())]

    def paint(self, engine: Engine, job: BatchJob, seconds: float | None) -> Outcome:
        """Stage 2 for one job whose dump is there. Raises as `write`. seconds: as in the outcome of `write`"""
        self.check_stop()
        with self.store.claim(job.name) as mine:
            if not mine:
                return Outcome(job, "held")
            self.ledger.refresh()
            try:
                found = self._find(job)
                if found.state == "done":
                    return Outcome(job, "gone")
                if found.state == "found":
                    return self._done(job, None, None)
                return self._paint(engine, job, found.dump or read_own_dump(job, self.ledger), seconds)
            except BaseException as error:
                self._raise_fatal(job, error)
                return self.fail(job, failure_text(error))

    def _write(self, engine: Engine, jobs: Sequence[BatchJob]) -> list[Outcome]:
        """A batch that fails is halved until the failing job is alone."""
        share = self._try_write(engine, jobs)
        if not isinstance(share, BaseException):
            return [Outcome(job, "written", seconds=share) for job in jobs]
        if len(jobs) == 1:
            return [self.fail(jobs[0], failure_text(share))]
        half = len(jobs) // 2
        self.check_stop()
        return [*self._write(engine, jobs[:half]), *self._write(engine, jobs[half:])]

    def _try_write(self, engine: Engine, jobs: Sequence[BatchJob]) -> float | BaseException:
        """Seconds a job, or what went wrong, without the frames that still hold the memory a retry needs."""
        try:
            engine.tokens()
            started = time.perf_counter()
            dumps = list(engine.write([TokenWork(job.job, part=self._part(job.dump, job.job)) for job in jobs]))
            seconds = time.perf_counter() - started
            for job, dump in zip(jobs, dumps, strict=True):
                self.store.write(job.dump, dump.to_json().encode(), replace=job.dump in self.stale)
        except BaseException as error:
            self._raise_fatal(jobs[0], error)
            return error.with_traceback(None)
        return round(seconds / len(jobs), 3)

    def _paint(self, engine: Engine, job: BatchJob, dump: TokenDump, share: float | None) -> Outcome:
        engine.painter()
        started = time.perf_counter()
        picture = engine.paint(dump, job.job.painting, part=self._part(job.picture, job.job, dump=dump))
        seconds = round(time.perf_counter() - started, 3)
        written = picture.encode(
            format_of(Path(job.picture)), metadata=self.options.metadata, quality=self.options.quality
        )
        self.store.write(job.picture, written, replace=job.picture in self.stale)
        return self._done(job, dump.stats.seconds if share is None else share, seconds)

    def _part(self, name: str, job: Job, **what: Any) -> Part | None:
        """The .part file of an output; None if there can be none. Raises OutputError for another job's file."""
        part = self.ledger.model.part(self.store.local(name), job, **what)
        if part is not None:
            part.check(force=self.options.force or holds_unfinished(part.path))
        return part

    def _done(self, job: BatchJob, tokens_seconds: float | None, picture_seconds: float | None) -> Outcome:
        """Record a job whose two files are on disk. Times are None where they are not known."""
        for name in (job.dump, job.picture):
            unfinished = self.store.local(name + ENDING)
            if unfinished is not None and holds_unfinished(unfinished):
                unfinished.unlink(missing_ok=True)
        stamps = {"picture": self.store.stamp(job.picture), "tokens": self.store.stamp(job.dump)}
        told = {
            "sizes": {what: stamp.size for what, stamp in stamps.items()},
            "sha256": self.store.hashes(job),
            "changed": {what: stamp.changed for what, stamp in stamps.items() if stamp.changed},
            "seconds": {"tokens": tokens_seconds, "picture": picture_seconds},
        }
        record = self.ledger.record(job, "done", picture=job.picture, tokens=job.dump, **told)
        return Outcome(job, "painted", self.ledger.add(record))

    def _raise_fatal(self, job: BatchJob, error: BaseException) -> None:
        """Raise an error that concerns more than this job."""
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted("interrupted", RESUME) from error
        if not isinstance(error, Exception) or isinstance(error, Interrupted) or is_hopeless(error):
            raise error
        if _has_lost_device(error):
            raise DeviceLost(f"the device failed while working on {job.name}: {error}", RESUME) from error

    def fail(self, job: BatchJob, error: str, *, is_own: bool = True) -> Outcome:
        """Record a job as failed. is_own: whether a dump that lies under its name is its own"""
        tokens = job.dump if is_own and self.store.exists(job.dump) else None
        record = self.ledger.record(job, "failed", error=error, run=self.run, tokens=tokens)
        return Outcome(job, "failed", self.ledger.add(record))

    def failed_before(self, job: BatchJob) -> Outcome | None:
        """That a job was recorded as failed in this run; None if it was not."""
        entry = self.ledger.entry_of(job)
        if not self.run or entry is None or (entry.status, entry.run) != ("failed", self.run):
            return None
        return Outcome(job, "failed", self.ledger.record(job, "failed", error=entry.error, run=self.run))

    def _find(self, job: BatchJob) -> Found:
        """What is there of a job held here. Raises OutputError for files of others, which count as nothing by force."""
        names = (job.picture, job.dump)
        there = {name: self.store.stamp(name) for name in names if self.store.exists(name)}
        try:
            found = look(job, self.ledger, there, self.store.deaths().get(job.name, 1) - 1 if there else 0)
        except OutputError:
            if not self.options.force:
                raise
            found = Found("write", set(names))
        self.stale |= found.stale
        return found

    def check_stop(self) -> None:
        """Raise Interrupted (exit 130) if somebody asked to stop."""
        if self.stopping:
            raise Interrupted("interrupted", RESUME)


RESUME = "Everything finished is kept; run the same command again to continue."


def failure_text(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, GlmimgError):
        return error.message
    if is_out_of_memory(error):
        return "out of memory"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def is_hopeless(error: BaseException) -> bool:
    """Whether every other job would fail for the same reason, because nothing can be saved any more."""
    cause = error.__cause__
    return isinstance(error, WriteError) and isinstance(cause, OSError) and cause.errno in HOPELESS


def _has_lost_device(error: BaseException) -> bool:
    """A CUDA error other than out-of-memory (a device-side assert, say) leaves the process's device unusable."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)
