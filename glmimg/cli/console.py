"""The only place that prints: results to standard output, notes and progress to standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.cli import streams
from glmimg.errors import GlmimgError
from glmimg.text import printable

if TYPE_CHECKING:
    import rich.console
    from PIL.Image import Image
    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn


PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Names and prompts are never markup: `[bold]` and `:smile:` stand for themselves."""

LINES = "\n\t"
"""Line breaks and tabs are kept; continued lines are indented, so that none passes for one of ours."""

PIPE_WIDTH = 10_000
"""The width of a table outside a terminal: nothing is cut or wrapped in a pipe."""


@dataclass
class Console:
    """Prints results, notes and errors in the form the user asked for.

    json:    results are one JSON object a line
    quiet:   no notes, no progress
    verbose: more notes
    events:  what goes to standard error is one JSON object a line
    pictures: small ones are shown, on a terminal
    opens:   how many pictures the desktop's viewer is still to open
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    events: bool = False
    pictures: bool = False
    opens: int = 0
    _bar: Progress | None = field(default=None, init=False)

    @cached_property
    def err(self) -> rich.console.Console:
        from rich.console import Console as RichConsole

        return RichConsole(stderr=True, soft_wrap=True, **PLAIN)

    @cached_property
    def out(self) -> rich.console.Console:
        from rich.console import Console as RichConsole

        console = RichConsole(soft_wrap=True, **PLAIN)
        if not console.is_terminal:
            console.width = PIPE_WIDTH
        return console

    def result(self, text: str, fields: Mapping[str, Any]) -> None:
        """One result: `text` for people and pipes, or `fields` as a line of JSON."""
        line = _json_line(fields, sys.stdout.encoding) if self.json else text
        with self._without_bar():
            sys.stdout.write(f"{printable(line, keep=LINES) if sys.stdout.isatty() else line}\n")
            sys.stdout.flush()

    def show(self, renderable: RenderableType) -> None:
        """A table or panel on standard output, wrapped between words on a terminal only."""
        with self._without_bar():
            self.out.print(renderable, soft_wrap=not self.out.is_terminal)

    def raw(self, data: bytes) -> None:
        """Bytes on standard output, as they are."""
        with self._without_bar():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def bar(self, *columns: ProgressColumn) -> Progress:
        """The bar of this command, on standard error. Results find their way to standard output past it."""
        from rich.progress import Progress

        self._bar = Progress(*columns, console=self.err, transient=True, redirect_stdout=False)
        return self._bar

    def note(self, text: str) -> None:
        """Print a note on standard error."""
        if self.quiet:
            return
        if self.events:
            self.event({"event": "note", "text": text})
        else:
            with streams.spare():
                self.err.print(printable(text), style="dim")

    def event(self, fields: Mapping[str, Any]) -> None:
        """Write an event as a line of JSON on standard error."""
        line = _json_line({**fields, "time": round(time.time(), 3)}, sys.stderr.encoding)
        with streams.spare():
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def picture(self, picture: Image | Path) -> None:
        """A small picture on standard error, where that is a terminal and somebody wants to see it."""
        if not self.shows_pictures:
            return
        from glmimg.cli.showing import on_terminal
        from glmimg.sources.colour import read_rgb

        drawn = on_terminal(read_rgb(picture) if isinstance(picture, Path) else picture, self.err)
        with self._without_bar():
            self.err.print(drawn)

    def open(self, path: Path) -> None:
        """Open a picture with the desktop's viewer, if that is wanted."""
        if self.opens:
            from glmimg.cli.showing import open_with_desktop

            reason = open_with_desktop(path)
            self.opens = 0 if reason else self.opens - 1
            if reason:
                self.note(f"{path} was not opened: {reason}")

    def urgent(self, text: str) -> None:
        """Print a note from a signal handler, where other output must not be interrupted."""
        if not self.quiet:
            os.write(2, f"\n{printable(text)}\n".encode())

    def error(self, error: GlmimgError) -> None:
        """Print what went wrong and what to do, on standard error."""
        if self.events:
            fields = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
            self.event({"event": "error", **fields})
            return
        message = printable(error.message, keep=LINES).replace("\n", "\n  ").replace("\n    ", "\n  ")
        with streams.spare():
            self.err.print(f"error: {message}", style="bold red")
            if error.hint:
                self.err.print(f"  {printable(error.hint)}")

    @property
    def shows_progress(self) -> bool:
        return not (self.quiet or self.events) and self.err.is_terminal

    @property
    def shows_pictures(self) -> bool:
        return self.pictures and not (self.quiet or self.events) and self.err.is_terminal

    @contextmanager
    def _without_bar(self) -> Iterator[None]:
        """Clear the bar while something prints: standard output may be the same terminal."""
        bar = self._bar
        if bar is None or not bar.live.is_started:
            yield
            return
        bar.stop()
        try:
            yield
        finally:
            bar.start()


def _json_line(fields: Mapping[str, Any], encoding: str) -> str:
    """Fields as JSON, escaped to ASCII if the stream cannot encode their characters."""
    import json

    line = json.dumps(fields, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(fields)
    return line
