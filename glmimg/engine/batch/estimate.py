"""What drawing a batch will take, before anything is drawn: time, memory, disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.progress import seconds_for
from glmimg.engine.batch.survey import Survey
from glmimg.grid import preview_shape, target_shape

PNG_BYTES_A_PIXEL = 1.7
"""A photographic 8-bit RGB picture compresses to about this; a flat one to far less."""

DUMP_BYTES = 1000
DUMP_BYTES_A_TOKEN = 6.5
"""Up to five digits, a comma, a space."""


@dataclass(frozen=True)
class Estimate:
    """What a batch takes. None is what cannot be known.

    seconds:      by the times earlier runs in the same folder measured, else by the speed of this machine
    measured:     whether they are of the first kind
    disk_bytes:   pictures and dumps still to be written
    disk_free:    of the output folder; None for an object store
    """

    seconds: float
    measured: bool
    disk_bytes: int
    disk_free: int | None

    @property
    def disk_suffices(self) -> bool:
        return self.disk_free is None or self.disk_bytes < self.disk_free


def estimate_batch(work: Survey, ledger: Ledger, guess: tuple[float, float]) -> Estimate:
    """The estimate for what a survey left to do. guess: seconds a job in each stage, where none were measured."""
    pace = ledger.pace
    tokens, picture = guess if pace.tokens is None or pace.picture is None else (pace.tokens, pace.picture)
    measured = pace.tokens is not None and pace.picture is not None
    root = next(path for path in (Path(ledger.store.root), *Path(ledger.store.root).parents) if path.is_dir())
    return Estimate(
        seconds_for(len(work.write) + len(work.suspect), work.to_do, tokens, picture, 0),
        measured,
        _bytes_to_write(work, ledger),
        None if "://" in ledger.store.root else shutil.disk_usage(root).free,
    )


def _bytes_to_write(work: Survey, ledger: Ledger) -> int:
    known = [entry.sizes["picture"] for entry in ledger.entries.values() if "picture" in entry.sizes]
    mean = sum(known) / len(known) if known else None
    pictures = sum(mean or _pixels(job) * PNG_BYTES_A_PIXEL for job in [*work.paint, *work.write, *work.suspect])
    dumps = sum(DUMP_BYTES + _tokens(job) * DUMP_BYTES_A_TOKEN for job in [*work.write, *work.suspect])
    return int(pictures + dumps)


def _pixels(job: BatchJob) -> int:
    size = job.job.scene.size
    return size.height * size.width


def _tokens(job: BatchJob) -> int:
    target = target_shape(*job.job.scene.size)
    return target.cells + preview_shape(target).cells
