"""Progress events of the stages. The loops print nothing themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.grid import GridShape, Role

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump


@dataclass(frozen=True)
class Loading:
    """A part of the model is being loaded, or is loaded (`done`)."""

    what: str
    done: bool = False


@dataclass(frozen=True)
class JobStarted:
    """A stage starts job `number` of `total` (both from 1), together with the `at_once - 1` jobs after it."""

    stage: str
    number: int
    total: int
    at_once: int = 1


@dataclass(frozen=True)
class TokensWritten:
    """`count` tokens of the grids (role, shape) of the current job have been drawn, in `seconds`.

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
    """The preview grids of the current jobs are drawn, but not the targets; the dumps have only previews."""

    dumps: tuple[TokenDump, ...]


@dataclass(frozen=True)
class StepDone:
    """Denoising step `number` of `total` is done."""

    number: int
    total: int


@dataclass(frozen=True)
class Saved:
    """A file has been written."""

    path: Path


@dataclass(frozen=True)
class Noted:
    """A note: something changed how the work is done, but not its result."""

    text: str


@dataclass(frozen=True)
class Fetched:
    """So much of what is fetched from a hub is here: of bytes (`B`) or files, as the hub's client counts them."""

    what: str
    unit: str
    number: float
    total: float | None


Event = Loading | JobStarted | TokensWritten | PreviewWritten | StepDone | Saved | Noted | Fetched
Watch = Callable[[Event], None]


def event_fields(event: Event) -> dict[str, Any]:
    """An event as JSON for other programs; docs/programs.md says what each field is."""
    match event:
        case Loading(what, done):
            return {"event": "loading", "what": what, "done": done}
        case JobStarted(stage, number, total, at_once):
            return {"event": "started", "stage": stage, "number": number, "total": total, "at_once": at_once}
        case TokensWritten(count, _, seconds, rows, passes):
            fields = {"number": count, "total": event.total, "rows": rows, "passes": passes}
            return {"event": "tokens", **fields, "seconds": round(seconds, 3)}
        case PreviewWritten(dumps):
            return {"event": "preview", "seeds": [dump.seed for dump in dumps]}
        case StepDone(number, total):
            return {"event": "step", "number": number, "total": total}
        case Saved(path):
            return {"event": "saved", "path": str(path)}
        case Noted(text):
            return {"event": "note", "text": text}
        case Fetched(what, unit, number, total):
            return {"event": "fetched", "what": what, "unit": unit, "number": number, "total": total}


def unwatched(event: object) -> None:
    """A watch function that ignores all events."""
