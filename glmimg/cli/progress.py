"""Progress on a terminal: listens to the stages' events and draws one line a long step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from glmimg.events import Event, JobStarted, Loading, Noted, Saved, StepDone, TokensWritten
from glmimg.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from glmimg.cli.console import Console


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Draws the events it is called with: notes always, a line that moves where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = _bar(console) if console.shows_progress else None
        self.task: TaskID | None = None
        self.job = ""

    def __enter__(self) -> ProgressLine:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Noted):
            self.console.note(event.text)
        if self.progress is None:
            return
        match event:
            case Loading(what, done):
                self._line(f"loading {what}", None if not done else 1, 1 if done else 0)
            case JobStarted(stage, number, total, at_once):
                numbers = f"{number}" if at_once == 1 else f"{number}-{number + at_once - 1}"
                self.job = f"{stage} {numbers}/{total}" if total > 1 else stage
                self._forget()
            case TokensWritten():
                self._line(f"{self.job}: {grid_being_written(event)}", event.total, event.count, speed(event))
            case StepDone(number, total):
                self._line(f"{self.job}: denoising", total, number, f"step {number}")
            case Saved(path):
                self._line(f"saved {printable(path)}", 1, 1)
                self._forget()

    def _line(self, text: str, total: int | None, done: int, detail: str = "") -> None:
        assert self.progress is not None
        if self.task is None or (total is None):
            self._forget()
            self.task = self.progress.add_task(text, total=total, detail=detail)
        self.progress.update(self.task, description=text, total=total, completed=done, detail=detail)

    def _forget(self) -> None:
        if self.progress is not None and self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None


def grid_being_written(event: TokensWritten) -> str:
    """Name and shape of the grid the last token belongs to, such as `preview 16x16`."""
    end = 0
    for role, shape in event.grids:
        end += shape.cells
        if event.count <= end:
            return f"{role} {shape.rows}x{shape.columns}"
    return ""


def speed(event: TokensWritten) -> str:
    """Tokens a second over all rows, and the forward passes it took, such as `620 tokens/s, 48 passes`."""
    rate = f"{event.rows * event.count / event.seconds:.0f} tokens/s, " if event.seconds else ""
    return f"{rate}{event.passes} passes"


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

    return console.bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
