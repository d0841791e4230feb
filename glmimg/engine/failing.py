"""What becomes of a run that fails: which dumps are safe, how to go on, and what counts as out of memory."""

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
    """SIGTERM: the work is left as at Ctrl-C."""


@contextmanager
def kept_on_failure(
    kept: Sequence[Path],
    underway: Sequence[tuple[Path | None, Part | None]] = (),
    *,
    then_paint: bool = False,
    if_none: str = "",
) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM, a full disk and out-of-memory say what is there by then, and how to go on.

    kept:       dumps that are finished and not painted yet
    underway:   dumps to write or to paint, and where that is left unfinished
    then_paint: whether the dumps are to be painted afterwards
    if_none:    what to say if nothing is left
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
    """Let SIGTERM raise, unless somebody else heeds it."""
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
        return f"{why} Finished token dumps are kept; paint them as they were meant: {decode}".strip()
    commands = " && ".join(filter(None, [f"glmimg resume {shell_words(*left)}", decode]))
    return f"What is unfinished is kept; go on with it: {commands}"
