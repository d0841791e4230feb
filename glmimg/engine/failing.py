"""What becomes of a run that fails: which dumps are safe, how to go on, and what counts as out of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from glmimg.errors import Interrupted, OutOfMemory, WriteError
from glmimg.text import shell_words


@contextmanager
def kept_on_failure(kept: Sequence[Path]) -> Iterator[None]:
    """Let Ctrl-C, a full disk and out-of-memory say which dumps are `kept` by then and not painted yet."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", _resume_hint(kept)) from error
    except (WriteError, OutOfMemory) as error:
        error.hint = " ".join(filter(None, [error.hint, _resume_hint(kept)]))
        raise


def _resume_hint(kept: Sequence[Path]) -> str:
    if not kept:
        return ""
    return f"Finished token dumps are kept; paint them as they were meant: glmimg decode {shell_words(*kept)}"
