"""Whether a dump is sound, check by check, each with a name.

A dump that was read has passed the first ones: `parse_dump` refuses what fails them. The others
look beyond the dump: at its sources and at the files it was made from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glmimg.tokens.dump import FORMAT, TokenDump

State = Literal["ok", "failed", "unchecked"]


@dataclass(frozen=True)
class Check:
    """One question asked of a dump, and the answer. `unchecked`: what it needs is not here."""

    name: str
    state: State
    detail: str


def check_dump(dump: TokenDump, path: Path) -> list[Check]:
    """Every check that needs no model.

    path: where the dump lies; sources and parents are looked for from here and from its folder
    """
    shapes = ", ".join(f"{grid.role} {grid.height}x{grid.width}" for grid in dump.grids)
    codes = [token for grid in _all_grids(dump) for row in grid for token in row]
    checks = [
        Check("format", "ok", f"{FORMAT} version {dump.version}, every field known, no key twice"),
        Check("size", "ok", f"{dump.width}x{dump.height} px, multiples of 32"),
        Check("shape", "ok", f"{shapes} (rows x columns), as the size asks"),
        Check("ids", "ok", f"{min(codes)} to {max(codes)}, codebook of {dump.model.codebook_size}"),
    ]
    for source in dump.sources:
        if source.embedded is None:
            checks.append(_check_file("source", source.path, source.sha256, path.parent))
        else:
            checks.append(Check("source", "ok", f"{source.path} travels inside"))
    checks += [_check_file("parent", parent.path, parent.sha256, path.parent) for parent in dump.parents]
    return checks


def _check_file(name: str, named: str, sha256: str, folder: Path) -> Check:
    """Whether a file is still the one a dump was made from."""
    try:
        found = next((path for path in (Path(named), folder / named) if path.is_file()), None)
        if found is None:
            return Check(name, "unchecked", f"{named} is not here")
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return Check(name, "unchecked", f"{named} cannot be read: {getattr(error, 'strerror', None) or error}")
    if digest != sha256:
        return Check(name, "failed", f"{named} has changed since")
    return Check(name, "ok", f"{named} is unchanged")


def _all_grids(dump: TokenDump) -> list[list[list[int]]]:
    return [grid.tokens for grid in [*dump.grids, *(source.grid for source in dump.sources)]]
