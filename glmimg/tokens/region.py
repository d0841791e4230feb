"""A part of a picture: a box in pixels or a mask, and the cells of a grid it covers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from glmimg.errors import BadImage, UsageError
from glmimg.grid import GridShape
from glmimg.pictures import opened

if TYPE_CHECKING:
    from PIL.Image import Image

CellMask = tuple[tuple[bool, ...], ...]
"""Rows of flags, one a cell."""

WHITE = 128
"""Mask pixels from this lightness on are selected."""


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


@dataclass(frozen=True)
class Region:
    """Part of a picture of `size_px` (height, width).

    text:   the box or the mask's name, for messages and histories
    box:    the rectangle, or
    pixels: a mask of mode "1" of the picture's size or of a grid's
    """

    text: str
    size_px: tuple[int, int]
    box: Box | None = None
    pixels: Image | None = None

    def cells(self, shape: GridShape) -> CellMask:
        """The cells of a grid over the whole picture that the region touches."""
        if self.pixels is not None:
            return _mask_cells(self.pixels, shape)
        assert self.box is not None
        (height, width), box = self.size_px, self.box
        rows = _touched(box.top, box.bottom, shape.rows, height)
        columns = _touched(box.left, box.right, shape.columns, width)
        return tuple(
            tuple(row in rows and column in columns for column in range(shape.columns)) for row in range(shape.rows)
        )


def count(cells: CellMask) -> int:
    """How many cells are selected."""
    return sum(map(sum, cells))


def box_region(text: str, size_px: tuple[int, int]) -> Region:
    """A region from `x0,y0,x1,y1` in pixels.

    size_px: (height, width) of the picture
    raises:  UsageError (exit 2): not four numbers, empty, or outside the picture
    """
    left, top, right, bottom = _numbers(text, 4, "x0,y0,x1,y1")
    height, width = size_px
    if left >= right or top >= bottom:
        raise UsageError(f"box {text} is empty", "Say left,top,right,bottom in pixels, for example 0,0,64,64.")
    if right > width or bottom > height:
        raise UsageError(f"box {text} reaches outside the picture of {width}x{height} pixels", "Make it smaller.")
    return Region(text, size_px, box=Box(left, top, right, bottom))


def mask_region(path: Path, size_px: tuple[int, int], shape: GridShape) -> Region:
    """A region from a picture: what is white in it.

    size_px: (height, width) of the picture the mask is for; the mask has its size, or one pixel for each cell
    shape:   of the target grid
    raises:  BadImage (exit 3): no picture, another size, or nothing white in it
    """
    height, width = size_px
    with opened(path) as image:
        if image.size not in ((width, height), (shape.columns, shape.rows)):
            raise BadImage(
                path,
                f"this mask is {image.width}x{image.height}, the picture {width}x{height} pixels",
                f"A mask has the picture's size, or {shape.columns}x{shape.rows}: one pixel for each token.",
            )
        pixels = _on_black(image).convert("L").point(lambda light: 255 * (light >= WHITE), mode="1")
    if pixels.getbbox() is None:
        raise BadImage(path, "selects nothing: no pixel of this mask is white")
    return Region(path.name, size_px, pixels=pixels)


def region_of(text: str, size_px: tuple[int, int], shape: GridShape) -> Region:
    """A region from a box `x0,y0,x1,y1` or else the name of a mask file. Raises as those two."""
    if len(text.split(",")) == 4 and not Path(text).exists():
        return box_region(text, size_px)
    return mask_region(Path(text), size_px, shape)


def parse_point(text: str) -> tuple[int, int]:
    """`x,y` in pixels. Raises UsageError (exit 2)."""
    left, top = _numbers(text, 2, "x,y")
    return left, top


def _numbers(text: str, how_many: int, form: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != how_many or not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        raise UsageError(f"{text!r} is not of the form {form}", "Whole numbers of pixels, from 0 on.")
    return [int(part) for part in parts]


def _touched(start_px: int, end_px: int, cells: int, length_px: int) -> range:
    """Indices of the cells, of `cells` over `length_px`, that [start_px, end_px) touches."""
    return range(start_px * cells // length_px, -(-end_px * cells // length_px))


def _mask_cells(pixels: Image, shape: GridShape) -> CellMask:
    width, height = pixels.size
    edges_x = [(c * width // shape.columns, -(-(c + 1) * width // shape.columns)) for c in range(shape.columns)]
    edges_y = [(r * height // shape.rows, -(-(r + 1) * height // shape.rows)) for r in range(shape.rows)]
    return tuple(
        tuple(pixels.crop((left, top, right, bottom)).getbbox() is not None for left, right in edges_x)
        for top, bottom in edges_y
    )


def _on_black(image: Image) -> Image:
    """The picture over black, so that what is transparent selects nothing."""
    from PIL import Image as pillow

    rgba = image.convert("RGBA")
    return pillow.alpha_composite(pillow.new("RGBA", rgba.size, "black"), rgba)
