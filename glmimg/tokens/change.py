"""Changes to a dump that need no model: pasting a region of another one, and the record of changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glmimg.errors import BadDump, UsageError
from glmimg.files import hash_file
from glmimg.grid import CELL_PX, Role
from glmimg.job import Job, Painting
from glmimg.sources.web import name_of
from glmimg.tokens.dump import Grid, Parent, TokenDump
from glmimg.tokens.region import Box, CellMask
from glmimg.unfinished import Part

if TYPE_CHECKING:
    from PIL.Image import Image

REDRAW, PASTE, FROM_IMAGE = "redraw", "paste", "from-image"
"""Sampling methods recorded in dumps that were not drawn from a prompt alone."""


@dataclass(frozen=True)
class TokenWork:
    """A job for stage 1.

    begun: a dump of its preview, to resume from
    until: the last grid to draw
    part:  where unfinished work is saved and resumed from
    """

    job: Job
    begun: TokenDump | None = None
    until: Role = "target"
    part: Part | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What all jobs of a batch must share: they may differ only in prompt and seed."""
        sampling = self.job.sampling.model_copy(update={"seed": 0})
        left = self.part and self.part.done
        return self.job.scene.size, sampling, self.begun is None, self.until, not self.job.scene.sources, left


@dataclass(frozen=True)
class Redraw:
    """What to redraw, and for which prompt.

    job:  prompt, seed and sampling of what is drawn; the size is the dump's
    kept: the grids in the order of writing, with the tokens to keep
    anew: for each grid, the cells to redraw
    """

    job: Job
    kept: tuple[Grid, ...]
    anew: tuple[CellMask, ...]
    parents: tuple[Parent, ...]


@dataclass(frozen=True)
class Reading:
    """A picture to turn into tokens. Prompt (its quoted words), seed and painting are for the decoder.

    image: RGB, scaled to height times width pixels (multiples of 32) as it is read
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
    return Parent(role=role, path=name_of(path), sha256=hash_file(path), cells=cells, region=region)


def check_same_codes(one: TokenDump, other: TokenDump, path: Path) -> None:
    """Refuse to mix codes of different codebooks. Raises BadDump (exit 3), naming `path`, the other dump's file."""
    half, half_other = (dump.model.fingerprint.partition("-")[0] for dump in (one, other))
    if one.model.codebook_size != other.model.codebook_size or half != half_other:
        raise BadDump(
            path,
            f"its codes are those of {other.model.id} ({half_other}), the other dump's of {one.model.id} ({half})",
            "Only mix dumps of the same model.",
        )


def paste(onto: TokenDump, given: TokenDump, box: Box, at: tuple[int, int]) -> TokenDump:
    """Copy the target cells of a box (of `given`) to `at` (left, top; of `onto`), both in pixels.

    The preview stays as it was: painting does not read it.
    raises: UsageError (exit 2) if the region would reach over the edge
    """
    top, left = box.top // CELL_PX, box.left // CELL_PX
    rows, columns = box.shape
    to_top, to_left = at[1] // CELL_PX, at[0] // CELL_PX
    target = onto.target
    if to_top + rows > target.height or to_left + columns > target.width:
        last = target.height - rows, target.width - columns
        raise UsageError(
            f"{columns * CELL_PX}x{rows * CELL_PX} pixels at {at[0]},{at[1]} extend beyond the edge "
            f"of the picture of {onto.size}",
            "Use a smaller --box."
            if min(last) < 0
            else f"The last place they fit is --at {last[1] * CELL_PX},{last[0] * CELL_PX}.",
        )
    tokens = [list(row) for row in target.tokens]
    for row in range(rows):
        source = given.target.tokens[top + row][left : left + columns]
        tokens[to_top + row][to_left : to_left + columns] = source
    # Log-probabilities were those of the picture as it was drawn, and hold no longer.
    grids = [grid.model_copy(update={"logprobs": None, "entropy": None}) for grid in onto.grids]
    grids[-1] = grids[-1].model_copy(update={"tokens": tokens})
    return onto.model_copy(update={"grids": grids, "sampling": onto.sampling.model_copy(update={"method": PASTE})})


def check_same_shapes(base: TokenDump, other: TokenDump, path: Path) -> None:
    """Refuse to keep cells of a dump of another size. Raises BadDump (exit 3), naming `path`, the other's file."""
    if [(grid.role, grid.shape) for grid in base.grids] != [(grid.role, grid.shape) for grid in other.grids]:
        raise BadDump(
            path, "its grids differ in shape from those of the dump being redrawn", "Both need the same size."
        )
