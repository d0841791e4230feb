"""Regions of a picture: a box in pixels or a mask, and the grid cells it covers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from glmimg.errors import BadImage, UsageError
from glmimg.grid import CELL_PX, GridShape, is_same_shape, target_shape
from glmimg.sources.colour import read_rgb
from glmimg.stencil import Stencil

if TYPE_CHECKING:
    from PIL.Image import Image

CellMask = tuple[tuple[bool, ...], ...]
"""Rows of flags, one per cell."""

WHITE = 128
"""Mask pixels of at least this lightness are selected."""


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @property
    def shape(self) -> GridShape:
        """Rows and columns of the cells it touches in a picture's own grid."""
        right, bottom = (-(-end // CELL_PX) for end in (self.right, self.bottom))
        return GridShape(bottom - self.top // CELL_PX, right - self.left // CELL_PX)


@dataclass(frozen=True)
class Region:
    """Part of a picture.

    text:   the box or the mask's name, for messages and histories
    pixels: a mask of mode "1", one pixel for each of the picture's or for each cell of its grid
    """

    text: str
    pixels: Image

    def cells(self, shape: GridShape) -> CellMask:
        """The cells of a grid over the whole picture that the region touches."""
        width, height = self.pixels.size
        columns, rows = _edges(width, shape.columns), _edges(height, shape.rows)
        return tuple(
            tuple(self.pixels.crop((left, top, right, bottom)).getbbox() is not None for left, right in columns)
            for top, bottom in rows
        )


def count(cells: CellMask) -> int:
    """How many cells are selected."""
    return sum(map(sum, cells))


def parse_box(text: str, size_px: tuple[int, int]) -> Box:
    """`x0,y0,x1,y1` in pixels of a picture of (height, width).

    raises: UsageError (exit 2): not four numbers, empty, or outside the picture
    """
    box = Box(*_numbers(text, 4, "x0,y0,x1,y1"))
    height, width = size_px
    if box.left >= box.right or box.top >= box.bottom:
        raise UsageError(f"box {text} is empty", "Give left,top,right,bottom in pixels, for example 0,0,64,64.")
    if box.right > width or box.bottom > height:
        raise UsageError(f"box {text} reaches outside the picture of {width}x{height} pixels", "Make it smaller.")
    return box


def box_region(text: str, size_px: tuple[int, int]) -> Region:
    """The region of a box. Raises as `parse_box`."""
    from PIL import Image as pillow

    pixels = pillow.new("1", size_px[::-1])
    pixels.paste(1, parse_box(text, size_px))
    return Region(text, pixels)


def mask_region(path: Path, size_px: tuple[int, int], shape: GridShape, *, may_scale: bool = False) -> Region:
    """A region from a mask picture: its white pixels.

    size_px: (height, width) of the picture it is for, which is the mask's size too, or it is the target grid's `shape`
    may_scale: whether it may also have another size of the picture's shape
    raises:  BadImage (exit 3): no picture, another size, or nothing white in it
    """
    height, width = size_px
    image = read_rgb(path, background="#000000")
    fits = may_scale and is_same_shape((image.height, image.width), size_px)
    if not fits and image.size not in ((width, height), (shape.columns, shape.rows)):
        raise BadImage(
            path,
            f"this mask is {image.width}x{image.height} pixels, but the picture is {width}x{height}",
            "A mask needs the picture's shape, in any size."
            if may_scale
            else f"A mask needs the picture's size, or {shape.columns}x{shape.rows}: one pixel for each token.",
        )
    pixels = image.convert("L").point(lambda light: 255 * (light >= WHITE), mode="1")
    if pixels.getbbox() is None:
        raise BadImage(path, "selects nothing: no pixel of this mask is white")
    return Region(path.name, pixels)


def region_of(text: str, size_px: tuple[int, int], shape: GridShape, *, may_scale: bool = False) -> Region:
    """A region from a box `x0,y0,x1,y1` or else the name of a mask file. Arguments and errors as of those two."""
    is_box = text.count(",") == 3 and not os.path.exists(text)  # noqa: PTH110 (never raises)
    return box_region(text, size_px) if is_box else mask_region(Path(text), size_px, shape, may_scale=may_scale)


def stencil_of(text: str, size_px: tuple[int, int]) -> Stencil:
    """What may change of a picture of (height, width), from a box or the name of a mask file, scaled to that size.

    raises: as `region_of`, but takes a mask of any size in the picture's shape
    """
    height, width = size_px
    pixels = region_of(text, size_px, target_shape(*size_px), may_scale=True).pixels.resize((width, height))
    return Stencil.of(text, pixels)


def parse_point(text: str) -> tuple[int, int]:
    """`x,y` in pixels. Raises UsageError (exit 2)."""
    left, top = _numbers(text, 2, "x,y")
    return left, top


def _numbers(text: str, how_many: int, form: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != how_many or not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        raise UsageError(f"{text!r} is not of the form {form}", "Use whole numbers of pixels, 0 or more.")
    return [int(part) for part in parts]


def _edges(length: int, cells: int) -> list[tuple[int, int]]:
    """First pixel, and first one after, of each of `cells` over a side."""
    return [(cell * length // cells, -(-(cell + 1) * length // cells)) for cell in range(cells)]
