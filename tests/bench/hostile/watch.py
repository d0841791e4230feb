"""The program run once in this process, and everything it must not do while it runs."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

PATIENCE, WAITING = 5.0, 30.0
"""Seconds of computing, and of waiting on a busy machine, after which a run hangs."""

STARTED = {
    *("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "pty.spawn", "os.fork"),
    *("os.forkpty", "pickle.find_class"),
}
"""Audit events of a program that is started, or of a pickle, which may start one."""

CHANGED = {
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.truncate": 1,
}
"""Audit events of files changed, and how many of their arguments are paths."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Hang(BaseException):
    """A run took longer than the patience."""


@dataclass
class Watch:
    """What the audit hook saw. inside: the one folder that may be written to."""

    inside: str
    programs: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTED:
            self.programs.append(f"{event} {arguments!r:.200}")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            self.reached.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, mode, flags = arguments
            if (flags or 0) & WRITING or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._changed(event, path)
        elif event in CHANGED:
            for path in arguments[: CHANGED[event]]:
                self._changed(event, path)

    def _changed(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # an open file's number
        parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100
        real = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118
        if real != os.devnull and os.path.commonpath([real, self.inside]) != self.inside:
            self.outside.append(f"{event} {real}")


_watching: list[Watch] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching:
        _watching[-1].see(event, arguments)


_hooked: list[bool] = []


@contextlib.contextmanager
def watched(inside: Path) -> Iterator[Watch]:
    """See what happens until the end of the context. An audit hook cannot be taken away, so there is one."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    watch = Watch(os.path.realpath(inside))
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.pop()


@dataclass(frozen=True)
class Outcome:
    """How one run ended. seconds: of computing. escaped: the exception that came out of `main`, if one did."""

    status: int | None
    err: str
    seconds: float
    escaped: str = ""


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "")


def run_program(arguments: Sequence[str]) -> Outcome:
    """The program with these arguments, through its `main`, in this process."""
    from glmimg.cli.main import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status, escaped = None, ""
    before = {number: signal.signal(number, _hang) for number in (signal.SIGPROF, signal.SIGALRM)}
    argv, computed = sys.argv, time.process_time()
    sys.argv = ["glmimg", *arguments]
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else None
    except BaseException as error:
        escaped = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.argv = argv
    seconds = time.process_time() - computed
    said = err.buffer.getvalue().decode("utf-8", "replace")
    return Outcome(status, said, seconds, escaped)
