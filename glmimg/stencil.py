"""Parts of a picture as a painting carries them: cells whose tokens are dropped, and a mask of what may change."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from glmimg.errors import BadImage
from glmimg.knob import FailFast
from glmimg.pictures import PNG, opened

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_MASK = 1 << 18
"""Characters of a mask in base64; one of a few shapes at 2048x2048 takes some thousands."""

MAX_FEATHER = 256


class DroppedCells(BaseModel):
    """Cells of a target grid, row by row, to be painted as if they had no token, and how they were selected."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    region: str
    cells: Annotated[tuple[Annotated[tuple[bool, ...], FailFast()], ...], FailFast()]


class Stencil(BaseModel):
    """What of a picture may change: a mask of the picture's size, white there, and how it was selected.

    png: the mask itself as a PNG of black and white in base64, so that it travels with the painting
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    region: Annotated[str, Field(max_length=4096)]
    png: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=MAX_MASK)]

    @classmethod
    def of(cls, region: str, pixels: Image) -> Stencil:
        """The stencil of a mask of mode "1". Raises BadImage (exit 3) for one with too much in it."""
        buffer = io.BytesIO()
        pixels.save(buffer, format="PNG", optimize=True)
        png = base64.b64encode(buffer.getvalue()).decode("ascii")
        if len(png) > MAX_MASK:
            reason = f"is too ragged: the mask travels in dump and picture, and packed it is over {MAX_MASK >> 10} KiB"
            raise BadImage(region, reason, "Smooth it, or name a box: --mask x0,y0,x1,y1.")
        return cls(region=region, png=png)

    def pixels(self, size_px: tuple[int, int]) -> Image:
        """The mask, for a picture of (height, width). Raises ValueError if it is none, or one of another size."""
        name = f"the mask {self.region}"
        try:
            data = base64.b64decode(self.png, validate=True)
        except ValueError as error:
            raise ValueError(f"{name} is damaged: {error}") from error
        try:
            with opened(name, data, formats=PNG) as image:
                if image.mode != "1" or image.size != size_px[::-1]:
                    width, height = image.size
                    raise ValueError(f"the mask is of a picture of {width}x{height}, not {size_px[1]}x{size_px[0]}")
                image.load()
                return image.copy()
        except BadImage as error:
            raise ValueError(error.message) from error

    def blend(self, painted: Image, kept: Image, feather: int) -> Image:
        """The painted picture where the mask is white; outside of it `kept`, pixel for pixel.

        feather: pixels within the mask's edge over which the one passes into the other
        """
        from PIL import Image as pillow

        pixels = self.pixels((painted.height, painted.width))
        return pillow.composite(painted, kept, _weights(pixels, feather))


def _weights(mask: Image, feather: int) -> Image:
    """Of the painted picture, 0 to 255: nothing outside the mask, all of it deeper within than `feather` pixels."""
    import numpy as np
    from PIL import Image as pillow

    depth = _depth(np.asarray(mask), feather + 1)
    return pillow.fromarray((255 * depth / (feather + 1)).round().astype(np.uint8))


def _depth(white: np.ndarray, most: int) -> np.ndarray:
    """How far each pixel is from the nearest black one, at most `most`; the picture's border is no edge."""
    import numpy as np

    place, far = np.arange(white.shape[1], dtype=np.int32), np.int32(1 << 20)
    before = np.maximum.accumulate(np.where(white, -far, place), axis=1)
    after = np.minimum.accumulate(np.where(white, far, place)[:, ::-1], axis=1)[:, ::-1]
    in_row = np.minimum(np.minimum(place - before, after - place), most) ** 2
    squares = in_row.copy()
    for rows in range(1, most):
        np.minimum(squares[rows:], in_row[:-rows] + rows**2, out=squares[rows:])
        np.minimum(squares[:-rows], in_row[rows:] + rows**2, out=squares[:-rows])
    depth: np.ndarray = np.minimum(np.sqrt(squares), most)
    return depth
