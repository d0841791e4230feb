"""What becomes of an interrupted run: which dumps are safe, and what to do about memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glmimg.errors import Interrupted, OutOfMemory, WriteError


@contextmanager
def kept_on_failure(kept: list[Path], explain: Callable[[], OutOfMemory]) -> Iterator[None]:
    """Let Ctrl-C, a full disk and out-of-memory say which dumps are safe and not painted yet.

    kept: looked at when it happens; may change until then
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", _resume_hint(kept)) from error
    except WriteError as error:
        error.hint = " ".join(filter(None, [error.hint, _resume_hint(kept)]))
        raise
    except (MemoryError, RuntimeError, OutOfMemory) as error:
        if not is_out_of_memory(error):
            raise
        if isinstance(error, OutOfMemory) and error.is_planned:
            raise
        explained = explain()
        hint = " ".join(filter(None, [explained.hint, _resume_hint(kept)]))
        raise OutOfMemory(explained.message, hint) from error


def free_memory() -> None:
    """Give back what a failed attempt left."""
    from glmimg.runtime.release import release_memory

    release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that host or device memory ran out. Imports no torch: without it, none can run out."""
    torch = sys.modules.get("torch")
    return (
        isinstance(error, MemoryError | OutOfMemory)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or "can't allocate memory" in str(error)
    )


def _resume_hint(kept: list[Path]) -> str:
    if not kept:
        return ""
    names = " ".join(str(path) for path in kept[:3]) + (" ..." if len(kept) > 3 else "")
    return f"Finished token dumps are kept; go on with: glmimg decode {names}"
