"""The three standard streams in any state: closed, full, without a reader, or in another encoding."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TextIO

from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump

DASH = "-"
"""The name that stands for standard input as an input, and for standard output as an output."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""System errors of a full disk or a closed reader, which are no bugs of the program."""


def prepare() -> None:
    """Make sure that every stream can be written to, whatever the text.

    A closed one goes nowhere; its number is taken at once, or the next file opened would get it and
    all that is printed. A name that is no UTF-8 is printed as the bytes it has; what the encoding of
    the terminal lacks is printed escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 (stays open)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8(sys.stdout.encoding) else "backslashreplace")


def read_input(limit: int) -> bytes:
    """All of standard input, or its first `limit` + 1 bytes. Raises UsageError (exit 2) where nobody sends any."""
    if sys.stdin.isatty():
        raise UsageError("- reads standard input, which is a terminal here", "Redirect a file: ... - < FILE")
    return sys.stdin.buffer.read(limit + 1)


@cache
def spool_input(limit: int) -> Path:
    """Copy standard input to a file that exists until the program ends. Raises UsageError (exit 2)."""
    folder = TemporaryDirectory(prefix="glmimg-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "standard-input"
    path.write_bytes(read_input(limit))
    return path


def read_given(path: Path) -> TokenDump:
    """Read and check a dump given as an argument. Raises BadDump (exit 3), UsageError (exit 2) for - on a terminal."""
    from glmimg.tokens.dump_file import MAX_BYTES, parse_dump, read_dump

    return parse_dump(read_input(MAX_BYTES), "standard input") if str(path) == DASH else read_dump(path)


def is_utf8(encoding: str) -> bool:
    """Whether a stream of this encoding can write every character."""
    return encoding.lower().replace("-", "").replace("_", "") == "utf8"


def flush() -> str:
    """Flush the remaining results. Returns why that failed, or an empty string."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    except OSError as error:
        silence()
        return error.strerror or str(error)
    return ""


def silence(stream: TextIO | None = None) -> None:
    """The reader of a stream, else of standard output, is gone or its disk full: discard what is still written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


@contextmanager
def spare() -> Iterator[None]:
    """What standard error has no room for is not worth a picture: nothing is said from then on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        silence(sys.stderr)
