"""Changes to a dump that need no model: pasting a region of one into another, and the history of changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glmimg.errors import BadDump, UsageError
from glmimg.grid import CELL_PX, Role
from glmimg.job import Job, Painting
from glmimg.tokens.dump import Grid, Parent, TokenDump
from glmimg.tokens.region import Box, CellMask

if TYPE_CHECKING:
    from PIL.Image import Image

REDRAW, PASTE, FROM_IMAGE = "redraw", "paste", "from-image"
"""What dumps that were not drawn from a prompt alone name as their sampling method."""


@dataclass(frozen=True)
class TokenWork:
    """A job for stage 1.

    begun: a dump of its preview, to go on from
    until: the last grid to draw
    """

    job: Job
    begun: TokenDump | None = None
    until: Role = "target"

    @property
    def kind(self) -> tuple[object, ...]:
        """What the jobs of one batch have in common: they differ in prompt and seed alone."""
        sampling = self.job.sampling.model_copy(update={"seed": 0})
        return self.job.scene.size, sampling, self.begun is None, self.until, not self.job.scene.sources


@dataclass(frozen=True)
class Redraw:
    """What to draw anew, and for which prompt.

    job:     prompt, seed and sampling of what is drawn; the size is the dump's
    kept:    the grids in the order of writing, with the tokens to keep
    anew:    for each grid, the cells to draw
    parents: the files the kept tokens are from
    """

    job: Job
    kept: tuple[Grid, ...]
    anew: tuple[CellMask, ...]
    parents: tuple[Parent, ...]


@dataclass(frozen=True)
class Reading:
    """A picture to turn into tokens.

    image:  RGB, scaled to height times width pixels (multiples of 32) as it is read
    prompt: goes into the dump, for the decoder's quoted words; may be empty
    seed:   goes into the dump, for the decoder; nothing is drawn
    painting: how the dump is meant to be painted
    """

    image: Image
    height: int
    width: int
    prompt: str
    seed: int
    painting: Painting
    parent: Parent


def parent(
    role: Literal["base", "kept", "pasted", "picture"], path: Path, cells: int, region: str | None = None
) -> Parent:
    """The record of a file tokens were taken from, as it is now."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Parent(role=role, path=str(path), sha256=digest, cells=cells, region=region)


def check_same_codes(one: TokenDump, other: TokenDump, path: Path) -> None:
    """Refuse to mix codes of different codebooks.

    raises: BadDump (exit 3), naming `path`, the other dump's file
    """
    if one.model.codebook_size != other.model.codebook_size or _ar_half(one) != _ar_half(other):
        raise BadDump(
            path,
            f"its codes are those of {other.model.id} ({_ar_half(other)}), the other dump's of {one.model.id} "
            f"({_ar_half(one)})",
            "Mix dumps of one model only.",
        )


def paste(onto: TokenDump, given: TokenDump, box: Box, at: tuple[int, int], parents: Sequence[Parent]) -> TokenDump:
    """Copy the target cells of a box (of `given`) to `at` (left, top; of `onto`), both in pixels.

    The preview stays as it was: painting does not read it.
    raises: UsageError (exit 2) if the region would reach over the edge
    """
    top, left = box.top // CELL_PX, box.left // CELL_PX
    rows, columns = -(-box.bottom // CELL_PX) - top, -(-box.right // CELL_PX) - left
    to_top, to_left = at[1] // CELL_PX, at[0] // CELL_PX
    target = onto.target
    if to_top + rows > target.height or to_left + columns > target.width:
        raise UsageError(
            f"{columns * CELL_PX}x{rows * CELL_PX} pixels at {at[0]},{at[1]} reach over the edge "
            f"of the picture of {onto.width}x{onto.height}",
            f"The last place they fit is --at "
            f"{max(target.width - columns, 0) * CELL_PX},{max(target.height - rows, 0) * CELL_PX}."
            if rows <= target.height and columns <= target.width
            else "Say a smaller --box.",
        )
    tokens = [list(row) for row in target.tokens]
    for row in range(rows):
        source = given.target.tokens[top + row][left : left + columns]
        tokens[to_top + row][to_left : to_left + columns] = source
    # Log-probabilities were those of the picture as it was drawn, and hold no longer.
    grids = [Grid(role=g.role, height=g.height, width=g.width, tokens=g.tokens) for g in onto.grids[:-1]]
    grids.append(Grid(role="target", height=target.height, width=target.width, tokens=tokens))
    sampling = onto.sampling.model_copy(update={"method": PASTE})
    return onto.model_copy(update={"grids": grids, "sampling": sampling, "parents": list(parents)})


def pasted_cells(box: Box) -> int:
    """How many cells a pasted box has."""
    rows = -(-box.bottom // CELL_PX) - box.top // CELL_PX
    return rows * (-(-box.right // CELL_PX) - box.left // CELL_PX)


def merge_kept(base: Sequence[Grid], other: Sequence[Grid], path: Path) -> tuple[Grid, ...]:
    """The grids of another dump, to keep cells from in place of `base`'s.

    raises: BadDump (exit 3), naming `path`, if the shapes differ
    """
    if [(grid.role, grid.shape) for grid in base] != [(grid.role, grid.shape) for grid in other]:
        raise BadDump(path, "its grids have other shapes than the dump that is redrawn", "Both need the same size.")
    return tuple(other)


def _ar_half(dump: TokenDump) -> str:
    return dump.model.fingerprint.partition("-")[0]
