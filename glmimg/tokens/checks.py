"""Named checks of whether a dump is valid.

A dump that was read has passed the first ones: `parse_dump` refuses what fails them. The others
look beyond the dump: at its sources and at the files it was made from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glmimg.errors import BadImage
from glmimg.files import hash_file
from glmimg.tokens.dump import FORMAT, TokenDump


@dataclass(frozen=True)
class Check:
    """A check of a dump and its result. `unchecked`: what it needs is missing."""

    name: str
    state: Literal["ok", "failed", "unchecked"]
    detail: str


def check_dump(dump: TokenDump, path: Path) -> list[Check]:
    """Every check that needs no model.

    path: of the dump; sources and parents are looked up from the current folder and from the dump's
    """
    shapes = ", ".join(f"{grid.role} {grid.height}x{grid.width}" for grid in dump.grids)
    codes = [token for grid in dump.all_grids for token in grid.flat()]
    return [
        Check("format", "ok", f"{FORMAT} version {dump.version}, every field known, no duplicate key"),
        Check("size", "ok", f"{dump.size} px, multiples of 32"),
        Check("shape", "ok", f"{shapes} (rows x columns), as the size requires"),
        Check("ids", "ok", f"{min(codes)} to {max(codes)}, codebook of {dump.model.codebook_size}"),
        *(
            _check_file("source", source.path, source.sha256, path.parent)
            if source.embedded is None
            else Check("source", "ok", f"{source.path} is embedded")
            for source in dump.sources
        ),
        *(_check_file("parent", parent.path, parent.sha256, path.parent) for parent in dump.parents),
    ]


def _check_file(name: str, named: str, sha256: str, folder: Path) -> Check:
    """Whether a file is still the one a dump was made from."""
    try:
        found = next((path for path in (Path(named), folder / named) if os.path.isfile(path)), None)  # noqa: PTH113
        if found is None:
            return Check(name, "unchecked", f"{named} is not here")
        if hash_file(found) != sha256:
            return Check(name, "failed", f"{named} has changed since")
    except BadImage as error:
        return Check(name, "unchecked", f"{named} {error.reason}")
    return Check(name, "ok", f"{named} is unchanged")
