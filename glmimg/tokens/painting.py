"""Which grid of a dump is painted: its target, or another as a draft."""

from __future__ import annotations

from pathlib import Path

from glmimg.errors import BadDump
from glmimg.grid import CELL_PX, Role
from glmimg.text import shell_words
from glmimg.tokens.dump import TokenDump


def check_has_grid(dump: TokenDump, path: Path | str, role: Role) -> None:
    """Refuse a dump that lacks the grid about to be painted. Raises BadDump (exit 3)."""
    if role not in [grid.role for grid in dump.grids]:
        if role != "target":
            raise BadDump(path, f"holds no {role} grid", "Paint its target: leave out --grid.")
        name = shell_words(path)
        hint = f"Go on from it: glmimg resume {name}   Or paint the draft: glmimg decode {name} --grid preview"
        raise BadDump(path, "holds a preview grid only", hint)


def as_target(dump: TokenDump, role: Role) -> TokenDump:
    """The dump with another of its grids in the target's place and the size that goes with it; for painting only."""
    if role == "target":
        return dump
    grid = next(grid for grid in dump.grids if grid.role == role)
    sides = {"height": grid.height * CELL_PX, "width": grid.width * CELL_PX}
    return dump.model_copy(update={**sides, "grids": [grid.model_copy(update={"role": "target"})]})
