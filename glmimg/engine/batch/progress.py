"""Estimates and progress events of a batch: time and disk space beforehand, then what is done and left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from glmimg.engine.batch.ledger import Ledger, Pace, Record
from glmimg.engine.batch.survey import Survey
from glmimg.events import Event
from glmimg.grid import preview_shape

PNG_BYTES_A_PIXEL = 1.7
"""A photographic 8-bit RGB picture compresses to about this; a flat one to far less."""

DUMP_BYTES, DUMP_BYTES_A_TOKEN = 1000, 6.5
"""Up to five digits, a comma, a space."""


@dataclass(frozen=True)
class Progress:
    """The progress of a batch.
    done, failed: jobs; the done ones include those of earlier runs
    stage:        `tokens` or `picture`, what was worked on last
    pictures_per_hour, seconds_left: at the speed measured so far, rounded; None while nothing is measured
    """

    total: int
    done: int
    failed: int
    dumps: int
    stage: str
    pictures_per_hour: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class JobMoved:
    """The dump of a job is on disk, or, with a record, the job is done or has failed."""

    name: str
    progress: Progress
    record: Record | None = None


BatchEvent = Survey | JobMoved
"""A survey says, before anything loads, what there is to do."""
Tell = Callable[[BatchEvent | Event], None]


@dataclass
class Count:
    """The state of a batch while it runs.

    before:   pace of earlier runs in the same folder, used until this run has measured its own
    painters: decoders that work beside stage 1; 0 if the stages take turns
    """

    total: int
    done: int = 0
    failed: int = 0
    to_write: int = 0
    to_paint: int = 0
    stage: str = "tokens"
    before: Pace = field(default_factory=Pace)
    pace: Pace = field(default_factory=Pace)
    painters: int = 0

    @classmethod
    def of(cls, work: Survey, before: Pace) -> Count:
        done = len(work.done)
        return cls(done + work.to_do, done, to_write=work.to_write, to_paint=work.to_do, before=before)

    def written(self, seconds: float | None) -> None:
        """A dump is there; seconds: its share of stage 1, None if another process wrote it."""
        self.stage, self.to_write = "tokens", max(0, self.to_write - 1)
        self.pace.add({"tokens": seconds})

    def ended(self, record: Record | None) -> None:
        """A job ended, here (with its record) or in another process."""
        self.stage, self.to_paint = "picture", self.to_paint - 1
        if record is None or record.status == "done":
            self.done += 1
        else:
            self.failed += 1
            self.to_write -= record.tokens is None and self.to_write > 0
        if record is not None:
            self.pace.add({"picture": record.seconds.get("picture")})

    def progress(self) -> Progress:
        tokens, picture = (
            self.before.mean(stage) if (now := self.pace.mean(stage)) is None else now
            for stage in ("tokens", "picture")
        )
        rate = left = None
        if tokens is not None and picture is not None and tokens + picture > 0:
            left = round(seconds_for(self.to_write, self.to_paint, tokens, picture, self.painters), 0)
            rate = round(3600 / seconds_for(1, 1, tokens, picture, self.painters), 1)
        dumps = self.total - self.failed - self.to_write
        return Progress(self.total, self.done, self.failed, dumps, self.stage, rate, left)


def seconds_for(to_write: int, to_paint: int, tokens: float, picture: float, painters: int = 0) -> float:
    """Seconds for so many jobs of each stage, `tokens` and `picture` seconds a job; painters as in `Count`."""
    if painters:
        return max(to_write * tokens, to_paint * picture / painters)
    return to_write * tokens + to_paint * picture


@dataclass(frozen=True)
class Estimate:
    """What a batch takes.

    measured:   whether the seconds come from earlier runs in the same folder, not from this machine's speed
    disk_bytes: pictures and dumps still to be written
    disk_free:  of the output folder; None for an object store
    """

    seconds: float
    measured: bool
    disk_bytes: int
    disk_free: int | None

    @property
    def disk_suffices(self) -> bool:
        return self.disk_free is None or self.disk_bytes < self.disk_free


def estimate_batch(work: Survey, ledger: Ledger, guess: tuple[float, float]) -> Estimate:
    """The estimate for what a survey found missing. guess: seconds per job in each stage, if none were measured."""
    tokens, picture = ledger.pace.mean("tokens"), ledger.pace.mean("picture")
    measured = tokens is not None and picture is not None
    times = (tokens, picture) if tokens is not None and picture is not None else guess
    root = Path(ledger.store.root)
    there = next(path for path in (root, *root.parents) if path.is_dir())
    free = None if "://" in ledger.store.root else shutil.disk_usage(there).free
    return Estimate(seconds_for(work.to_write, work.to_do, *times), measured, _bytes_to_write(work, ledger), free)


def _bytes_to_write(work: Survey, ledger: Ledger) -> int:
    known = [entry.sizes["picture"] for entry in ledger.entries.values() if "picture" in entry.sizes]
    mean = sum(known) / len(known) if known else None
    dumps = [*work.write, *work.suspect]
    total = 0.0
    for size in (job.job.scene.size for job in [*work.paint, *dumps]):
        total += mean or size.height * size.width * PNG_BYTES_A_PIXEL
    for target in (job.job.scene.size.cells for job in dumps):
        total += DUMP_BYTES + (target.cells + preview_shape(target).cells) * DUMP_BYTES_A_TOKEN
    return int(total)
