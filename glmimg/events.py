"""What the stages tell whoever watches: progress as data. The loops print nothing themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glmimg.tokens.grid import GridShape, Role


@dataclass(frozen=True)
class Loading:
    """A part of the model is being loaded, or is there (`done`)."""

    what: str
    done: bool = False


@dataclass(frozen=True)
class JobStarted:
    """A stage takes up job `number` of `total` (both from 1)."""

    stage: str
    number: int
    total: int


@dataclass(frozen=True)
class TokensWritten:
    """So many tokens of the grids (role, shape) of the present job are drawn, in `seconds`."""

    count: int
    grids: tuple[tuple[Role, GridShape], ...]
    seconds: float

    @property
    def total(self) -> int:
        return sum(shape.cells for _, shape in self.grids)


@dataclass(frozen=True)
class StepDone:
    """Denoising step `number` of `total` is done."""

    number: int
    total: int


@dataclass(frozen=True)
class Saved:
    """A file is on disk, whole."""

    path: Path


Event = Loading | JobStarted | TokensWritten | StepDone | Saved
Watch = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """For callers that want no reports."""
