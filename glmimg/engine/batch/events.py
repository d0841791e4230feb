"""What a batch tells whoever watches, next to the stages' own events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from glmimg.engine.batch.ledger import Record
from glmimg.events import Event


@dataclass(frozen=True)
class Planned:
    """What there is to do, known before anything loads. All are numbers of jobs."""

    total: int
    done: int
    to_write: int
    to_paint: int
    suspect: int


@dataclass(frozen=True)
class Progress:
    """Where a batch stands.

    done, failed: jobs, those of earlier runs among the done ones
    stage:        `tokens` or `picture`, what was worked on last
    pictures_per_hour, seconds_left: at the speed measured so far, None while nothing is measured
    """

    total: int
    done: int
    failed: int
    dumps: int
    stage: str
    pictures_per_hour: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class DumpWritten:
    """The dump of a job is on disk."""

    name: str
    progress: Progress


@dataclass(frozen=True)
class JobEnded:
    """A job is done or has failed, and recorded."""

    record: Record
    progress: Progress


@dataclass(frozen=True)
class Notice:
    """Something worth knowing that is no failure, in one sentence."""

    text: str


BatchEvent = Planned | DumpWritten | JobEnded | Notice
Tell = Callable[[BatchEvent | Event], None]
