"""What drawing a batch will take, before anything is drawn: time and disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.progress import seconds_for
from glmimg.engine.batch.survey import Survey
from glmimg.grid import preview_shape

PNG_BYTES_A_PIXEL = 1.7
"""A photographic 8-bit RGB picture compresses to about this; a flat one to far less."""

DUMP_BYTES, DUMP_BYTES_A_TOKEN = 1000, 6.5
"""Up to five digits, a comma, a space."""


@dataclass(frozen=True)
class Estimate:
    """What a batch takes.

    measured:   whether the seconds follow from times of earlier runs in the same folder, else from this machine's speed
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
    """The estimate for what a survey left to do. guess: seconds a job in each stage, where none were measured."""
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
