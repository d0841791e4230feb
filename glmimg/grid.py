"""Shapes of token grids: how many d32 cells (32x32 px each) a picture and its preview have."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from glmimg.errors import SizeError

Role = Literal["preview", "target", "source"]
"""The role of a grid: a first sketch, the picture itself, or a source picture of an edit."""

CELL_PX = 32
"""Side in pixels of the square that one visual token covers (`GlmImageProcessor`: factor 32)."""

PREVIEW_SIDE = 16
"""A square preview is 16x16 cells, and every preview keeps about that area."""

MAX_CELLS = 128 * 128
"""More cells than any GLM-Image draws (4096x4096 px); guards against absurd sizes."""


class GridShape(NamedTuple):
    """Rows and columns of a token grid, in d32 cells."""

    rows: int
    columns: int

    @property
    def cells(self) -> int:
        return self.rows * self.columns


def target_shape(height_px: int, width_px: int) -> GridShape:
    """Shape of the target grid of a picture. Raises as `check_size`.

    source: transformers, `GlmImageProcessor._get_target_shape`
    """
    check_size(height_px, width_px)
    return GridShape(height_px // CELL_PX, width_px // CELL_PX)


def preview_shape(target: GridShape) -> GridShape:
    """Shape of the preview grid that precedes a text-to-image target grid.

    target:  rows and columns in d32 cells, each >= 1
    returns: about 16x16 cells in the target's aspect; (36, 24) gives (19, 13)
    raises:  SizeError (exit 2) if a side would be 0
    source:  transformers, `GlmImageProcessor._get_target_shape`
    """
    ratio = target.rows / target.columns
    shape = GridShape(int(math.sqrt(ratio) * PREVIEW_SIDE), int(math.sqrt(1 / ratio) * PREVIEW_SIDE))
    if min(shape) < 1:
        size = f"{target.columns * CELL_PX}x{target.rows * CELL_PX}"
        raise SizeError(f"size {size} is too narrow: its preview would be empty", "Keep the aspect ratio under 256:1.")
    return shape


def check_size(height_px: int, width_px: int) -> None:
    """Refuse sizes no grid can have, before anything loads.

    raises: SizeError (exit 2) for sides under 32 px or no multiple of 32, and for more than 4096x4096 px in all
    """
    size = f"size {width_px}x{height_px}"
    if min(height_px, width_px) < 1:
        raise SizeError(f"{size}: both sides must be positive", "Try --size 1024x1024.")
    if height_px % CELL_PX or width_px % CELL_PX:
        nearest = f"The nearest size that works is --size {nearest_side(width_px)}x{nearest_side(height_px)}."
        raise SizeError(f"{size}: both sides must be multiples of {CELL_PX}", nearest)
    if (height_px // CELL_PX) * (width_px // CELL_PX) > MAX_CELLS:
        limit = "The model was made for 1024x1024 to 2048x2048; the limit is 4096x4096 pixels in all."
        raise SizeError(f"{size} is larger than GLM-Image can draw", limit)


def nearest_side(side_px: int) -> int:
    """The multiple of 32 nearest to a side in pixels, at least 32."""
    return max(CELL_PX, (side_px + CELL_PX // 2) // CELL_PX * CELL_PX)


def is_same_shape(given: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Whether a picture, scaled to another's width, has its height: within a cell and 6 %. Both (height, width)."""
    return abs(given[0] * wanted[1] / given[1] - wanted[0]) < min(CELL_PX, wanted[0] / 16)
