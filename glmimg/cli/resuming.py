"""`--resume`: what was said beside it, and the dumps to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadDump, UsageError

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump


def read_begun(paths: Sequence[Path], size: str | None, *, others: Sequence[object]) -> list[TokenDump]:
    """Read the dumps to go on from.

    size:   of the picture, if --size was said beside --resume
    others: values of everything else that decides the tokens; all should be unsaid
    raises: UsageError (exit 2) for those; BadDump (exit 3) for a dump that cannot be gone on from
    """
    from glmimg.engine.resume import check_begun
    from glmimg.job import parse_size
    from glmimg.tokens.dump_file import read_dump

    if any(other is not None for other in others):
        raise UsageError(
            "--resume takes prompt, seed and sampling from the dump",
            "Leave out everything else that says what to draw.",
        )
    begun = [read_dump(path) for path in paths]
    for path, dump in zip(paths, begun, strict=True):
        check_begun(dump, path)
        if size is not None and parse_size(size) != (dump.height, dump.width):
            raise BadDump(
                path, f"is the preview of a {dump.width}x{dump.height} picture, not of {size}", "Leave out --size."
            )
    return begun
