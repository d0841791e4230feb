"""The three standard streams as a shell may hand them over: closed, full, without a reader, or of another encoding."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump

DASH = "-"
"""The name that stands for standard input among what is read, for standard output among what is written."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""What the system says when writing fails for want of room: no bug of the program's."""


def prepare() -> None:
    """Make every stream one that can be written to, whatever is written.

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
        raise UsageError("- reads standard input, which is the terminal", "Send a file into it: ... - < FILE")
    return sys.stdin.buffer.read(limit + 1)


@cache
def spool_input(limit: int) -> Path:
    """Standard input as a file that is there until the program ends. Raises UsageError (exit 2)."""
    folder = TemporaryDirectory(prefix="glmimg-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "standard-input"
    path.write_bytes(read_input(limit))
    return path


def read_given(path: Path) -> TokenDump:
    """Read and check a dump that was named. Raises BadDump (exit 3), UsageError (exit 2) for - on a terminal."""
    from glmimg.tokens.dump_file import MAX_BYTES, parse_dump, read_dump

    return parse_dump(read_input(MAX_BYTES), "standard input") if str(path) == DASH else read_dump(path)


def is_utf8(encoding: str) -> bool:
    """Whether a stream of this encoding takes every character."""
    return encoding.lower().replace("-", "").replace("_", "") == "utf8"


def flush() -> str:
    """Send off what is left of the results. Returns why it was not possible, empty if it was."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    except OSError as error:
        silence()
        return error.strerror or str(error)
    return ""


def silence() -> None:
    """The reader is gone, or the disk full: let the interpreter's own last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
