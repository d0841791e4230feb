"""What the stages tell whoever watches: progress as data. The loops print nothing themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.grid import GridShape, Role

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump


@dataclass(frozen=True)
class Loading:
    """A part of the model is being loaded, or is there (`done`)."""

    what: str
    done: bool = False


@dataclass(frozen=True)
class JobStarted:
    """A stage takes up job `number` of `total` (both from 1), and the `at_once - 1` jobs behind it."""

    stage: str
    number: int
    total: int
    at_once: int = 1


@dataclass(frozen=True)
class TokensWritten:
    """So many tokens of the grids (role, shape) of the present job are drawn, in `seconds`.

    rows:   jobs drawn at once, each having that many tokens
    passes: forward passes it took
    """

    count: int
    grids: tuple[tuple[Role, GridShape], ...]
    seconds: float
    rows: int = 1
    passes: int = 0

    @property
    def total(self) -> int:
        return sum(shape.cells for _, shape in self.grids)


@dataclass(frozen=True)
class PreviewWritten:
    """The preview grids of the present jobs are drawn, the targets are not: dumps that hold only those."""

    dumps: tuple[TokenDump, ...]


@dataclass(frozen=True)
class StepDone:
    """Denoising step `number` of `total` is done."""

    number: int
    total: int


@dataclass(frozen=True)
class Saved:
    """A file is on disk, whole."""

    path: Path


@dataclass(frozen=True)
class Noted:
    """Something worth knowing happened that changes how the work is done, not what comes out."""

    text: str


Event = Loading | JobStarted | TokensWritten | PreviewWritten | StepDone | Saved | Noted
Watch = Callable[[Event], None]


def unwatched(event: object) -> None:
    """For callers that want no reports."""
