"""Progress: shows the stages' events as one line per long step, or passes them on as lines of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from glmimg.events import (
    Event,
    JobStarted,
    Loading,
    Noted,
    PreviewWritten,
    Saved,
    StepDone,
    TokensWritten,
    event_fields,
)
from glmimg.text import counted, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from glmimg.cli.console import Console


LONG_STEP = 60.0
INTERVAL = 10.0
"""Seconds between progress notes of a long step if no terminal shows a bar; with -v from the start."""

EVENT_INTERVAL = 0.1


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Draws the events it is called with.

    On a terminal, one line shows the current step and one all pictures. Elsewhere long steps report now and then how
    far they are; a thread watches the clock for steps that report nothing themselves, such as loading and the VAE.
    Notes are always printed, and at the end how many files there are, where, and how long it took.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = _bar(console) if console.shows_progress else None
        self.task: TaskID | None = None
        self.whole: TaskID | None = None
        self.job = ""
        self.saved: list[Path] = []
        self.begun = self.step_begun = self.told = monotonic()
        self.present = ""  # what is being done, and how far that is
        self.left = Signal()

    def __enter__(self) -> ProgressLine:
        if self.progress is not None:
            self.progress.start()
        elif not self.console.quiet:
            Thread(target=self._watch_clock, name="progress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.left.set()
        if self.progress is not None:
            self.progress.stop()
        several = len({path.suffix for path in self.saved}) < len(self.saved)
        if kind is None and (several or (self.saved and self.progress is not None)):
            self.console.note(closing_line(self.saved, monotonic() - self.begun))

    def __call__(self, event: Event) -> None:
        match event:
            case Noted(text):
                self.console.note(text)
            case Loading(what, done):
                self._step(f"loading {what}", 1 if done else None, int(done))
            case JobStarted(stage, number, total, at_once):
                numbers = f"{number}" if at_once == 1 else f"{number}-{number + at_once - 1}"
                self.job = f"{stage} {numbers}/{total}" if total > 1 else stage
                self._show_whole(stage, number - 1, total)
                self._forget(f"{self.job}: preparing")
            case TokensWritten():
                self._step(f"{self.job}: {grid_being_written(event)}", event.total, event.count, speed(event))
            case PreviewWritten(dumps) if self.console.shows_pictures:
                from glmimg.cli.showing import of_tokens

                self.console.picture(of_tokens(dumps))
            case StepDone(number, total):
                self._step(f"{self.job}: denoising", total, number, f"step {number}")
                if number == total:
                    self._begin(f"{self.job}: painting the pixels")
            case Saved(path):
                self.saved.append(path)
                self._step(f"saved {printable(path)}", 1, 1)
                self._forget()

    def _step(self, text: str, total: int | None, done: int, detail: str = "") -> None:
        """The current step advanced; a new step begins if there is none yet, or without a total."""
        if self.progress is None:
            self._tell(text, total, done)
            return
        if self.task is None or total is None:
            self._forget()
            self.task = self.progress.add_task(text, total=total, detail=detail)
        self.progress.update(self.task, description=text, total=total, completed=done, detail=detail)

    def _show_whole(self, stage: str, done: int, total: int) -> None:
        """Update the line of all pictures, if there are several."""
        if self.progress is None or total == 1:
            return
        if self.whole is None:
            self.whole = self.progress.add_task("", detail="")
        self.progress.update(self.whole, description=f"{stage}, all", total=total, completed=done)

    def _tell(self, text: str, total: int | None, done: int) -> None:
        if done <= 1:
            self.step_begun = monotonic()
        self.present = "" if total == done else f"{text} {done}/{total}" if total else text
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        now, present = monotonic(), self.present
        patience = 0.0 if self.console.verbose else LONG_STEP
        if present and now - self.step_begun >= patience and now - self.told >= INTERVAL:
            self.told = now
            self.console.note(f"{present}, {duration(now - self.begun)} since the start")

    def _watch_clock(self) -> None:
        while not self.left.wait(INTERVAL / 10):
            self._look_at_clock()

    def _begin(self, present: str) -> None:
        """Another step begins, which tells nothing until it is done."""
        self.present, self.step_begun = present, monotonic()

    def _forget(self, present: str = "") -> None:
        self._begin(present)
        if self.progress is not None and self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None


class EventLines(AbstractContextManager["EventLines"]):
    """Writes events for another program, one line of JSON each, and at most ten a second for a step in progress."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.told = 0.0

    def __exit__(self, *exception: object) -> None:
        """Nothing to do: the events end with the program."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Noted):
            self.console.note(event.text)
            return
        fields, now = event_fields(event), monotonic()
        is_under_way = "number" in fields and fields["event"] != "started" and fields["number"] != fields["total"]
        if not is_under_way or now - self.told >= EVENT_INTERVAL:
            self.told = now
            self.console.event(fields)


def reporter(console: Console) -> ProgressLine | EventLines:
    """The watch function that reports the progress of this command."""
    return EventLines(console) if console.events else ProgressLine(console)


def closing_line(saved: Sequence[Path], seconds: float) -> str:
    """A summary of the files written, such as `4 pictures and 4 dumps in 12 s, in out/`."""
    dumps = sum(path.name.endswith(".tokens.json") for path in saved)
    counts = {"picture": len(saved) - dumps, "dump": dumps}
    files = " and ".join(counted(count, name) for name, count in counts.items() if count)
    folders = {path.parent for path in saved}
    here = folders == {Path()}
    place = f", in {printable(folders.pop())}" if len(folders) == 1 else f", in {len(folders)} folders"
    return f"{files} in {duration(seconds)}{'' if here else place}"


def duration(seconds: float) -> str:
    """`3.2 s`, `47 s`, `4 min 5 s`, `2 h 3 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return console.bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
