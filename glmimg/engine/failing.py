"""Handling of failed runs: which dumps are safe, how to continue, and what counts as out of memory."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from glmimg.errors import Interrupted, OutOfMemory, WriteError
from glmimg.text import shell_words
from glmimg.unfinished import Part


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is handled like Ctrl-C."""


@contextmanager
def kept_on_failure(
    kept: Sequence[Path],
    underway: Sequence[tuple[Path | None, Part | None]] = (),
    *,
    then_paint: bool = False,
    if_none: str = "",
) -> Iterator[None]:
    """Make the errors of Ctrl-C, SIGTERM, a full disk and out-of-memory say what is saved and how to continue.

    kept:       dumps that are finished and not painted yet
    underway:   dumps being written or painted, and their .part files
    then_paint: whether the dumps are to be painted afterwards
    if_none:    the hint if nothing was saved
    """
    try:
        with _terminable():
            yield
    except KeyboardInterrupt as error:
        ended = Interrupted("interrupted", _hint(kept, underway, then_paint, if_none))
        if isinstance(error, Terminated):
            ended.exit_code = 128 + signal.SIGTERM
        raise ended from error
    except (WriteError, OutOfMemory) as error:
        error.hint = " ".join(filter(None, [error.hint, _hint(kept, underway, then_paint, "")]))
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM raise, unless it is handled elsewhere."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _hint(
    kept: Sequence[Path], underway: Sequence[tuple[Path | None, Part | None]], then_paint: bool, if_none: str
) -> str:
    left = {part.path: dump for dump, part in underway if part is not None and part.done is not None}
    why = if_none if not underway or any(part is None for _, part in underway) else ""
    if not left and not kept:
        return why
    dumps = [dump for dump in kept if dump not in left.values()]
    dumps += [dump for dump in left.values() if dump is not None and then_paint]
    decode = f"glmimg decode {shell_words(*dumps)}" if dumps else ""
    if not left:
        return f"{why} Finished token dumps are kept; paint them with: {decode}".strip()
    commands = " && ".join(filter(None, [f"glmimg resume {shell_words(*left)}", decode]))
    return f"Unfinished work is kept; continue with: {commands}"
