"""Dumps as a command line names them: files, or - for standard input."""

from __future__ import annotations

from pathlib import Path

from glmimg.cli.streams import DASH, read_input
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import MAX_BYTES, parse_dump, read_dump


def read_given(path: Path) -> TokenDump:
    """Read and check a dump that was named. Raises BadDump (exit 3), UsageError (exit 2) for - on a terminal."""
    if str(path) == DASH:
        return parse_dump(read_input(MAX_BYTES), "standard input")
    return read_dump(path)
