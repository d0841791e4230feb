"""The only way from a file to the prepared picture that the AR model, the decoder and the dump all use.

The processor halves a picture and rounds to 16 px patches, the VAE works on multiples of 16: both see
the same grid only when each side is a multiple of 32 and the processor has no reason to scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadImage
from glmimg.grid import CELL_PX
from glmimg.job import Fit, SourceRef
from glmimg.pictures import OpenedPicture, open_picture
from glmimg.sources.colour import WHITE, to_srgb
from glmimg.sources.web import name_of

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ASPECT = 4.0
"""Longer side over shorter: what the processor refuses to exceed (transformers, `smart_resize`)."""


@dataclass(frozen=True)
class SourceBounds:
    """The shortest and longest side, in pixels, multiples of 32, that the AR half's processor leaves unscaled."""

    shortest: int
    longest: int

    @classmethod
    def of_pixels(cls, min_pixels: int, max_pixels: int) -> SourceBounds:
        """From the processor's bounds on height times width, which it reads as bounds on sides."""
        shortest, longest = round(min_pixels**0.5), round(max_pixels**0.5)
        return cls(max(-(-shortest // CELL_PX), 1) * CELL_PX, longest // CELL_PX * CELL_PX)

    @property
    def max_aspect(self) -> float:
        return min(MAX_ASPECT, self.longest / self.shortest)

    def admit(self, height: int, width: int) -> bool:
        """Whether a picture of this size needs no preparation but its colours."""
        short, long = sorted((height, width))
        whole = height % CELL_PX == 0 and width % CELL_PX == 0
        return whole and short >= self.shortest and long <= self.longest and long / short <= self.max_aspect


@dataclass(frozen=True)
class PreparedSource:
    """A source picture as both stages read it: RGB in sRGB, of the ref's height and width.

    notes: what was changed, such as "first frame of 12"
    """

    ref: SourceRef
    image: Image
    notes: tuple[str, ...] = ()


def prepare_source(path: Path, bounds: SourceBounds, fit: Fit = "pad", background: str = WHITE) -> PreparedSource:
    """Read a picture file and convert it to the nearest size and mode that the model reads. Raises BadImage (exit 3).

    An RGB picture whose sides are multiples of 32 within the bounds stays unchanged.
    """
    opened = open_picture(path)
    height, width, used = choose_size(opened.image.height, opened.image.width, bounds, fit)
    ref = SourceRef(
        path=name_of(path), sha256=opened.sha256, height=height, width=width, fit=used, background=background
    )
    return _render(opened, ref)


def prepare_again(path: Path, ref: SourceRef) -> PreparedSource:
    """Prepare a source just as `ref` says it was, from a file that may have moved: the ref returned says where it is.

    raises: BadImage (exit 3), also when the file is no longer the one that was used
    """
    opened = open_picture(path)
    if opened.sha256 != ref.sha256:
        raise BadImage(path, "has changed since: it is not the picture that was used")
    return _render(opened, ref.model_copy(update={"path": name_of(path)}))


def _render(opened: OpenedPicture, ref: SourceRef) -> PreparedSource:
    try:
        image, notes = to_srgb(opened.image, ref.background)
        image = fit_picture(image, ref.height, ref.width, ref.fit, ref.background)
    except (MemoryError, ValueError, OSError) as error:
        raise BadImage(ref.path, f"cannot be turned into RGB: {error or type(error).__name__}") from error
    was = f"{opened.image.width}x{opened.image.height}"
    if ref.fit is None and opened.image.size != (ref.width, ref.height):
        notes += (f"scaled from {was} to {ref.width}x{ref.height}, as the model reads it",)
    if ref.fit is not None:
        sides = [f"{side / min(ref.width, ref.height):g}" for side in (ref.width, ref.height)]
        notes += (f"{'padded' if ref.fit == 'pad' else 'cropped'} from {was} to {':'.join(sides)}",)
    return PreparedSource(ref, image, opened.notes + notes)


def choose_size(height: int, width: int, bounds: SourceBounds, fit: Fit) -> tuple[int, int, Fit | None]:
    """The nearest size both halves can read.

    height, width: of the picture, pixels, each >= 1
    returns:       height and width within the bounds, multiples of 32, and `fit` if the aspect had to change
    """
    short, long = float(min(height, width)), float(max(height, width))
    used: Fit | None = None
    if long > short * bounds.max_aspect:
        used = fit
        short, long = (long / bounds.max_aspect, long) if fit == "pad" else (short, short * bounds.max_aspect)
    scale = max(1.0, bounds.shortest / short)
    scale = min(scale, bounds.longest / long)
    short_px, long_px = (
        min(max(round(side * scale / CELL_PX) * CELL_PX, bounds.shortest), bounds.longest) for side in (short, long)
    )
    long_px = min(long_px, int(short_px * bounds.max_aspect) // CELL_PX * CELL_PX)
    return (short_px, long_px, used) if height <= width else (long_px, short_px, used)


def fit_picture(image: Image, height: int, width: int, fit: Fit | None, background: str) -> Image:
    """Bring an RGB picture to a size, padding or cropping it about its middle where `fit` says so.

    Without `fit` it is stretched, by less than a cell. A picture of that size comes back as it is.
    """
    from PIL import Image as pillow

    if image.size == (width, height):
        return image
    if fit == "pad":
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        canvas = pillow.new("RGB", (width, height), background)
        place = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas.paste(image.resize(inner, pillow.Resampling.LANCZOS), place)
        return canvas
    if fit == "crop":  # keep the middle of the side that is too long
        kept_width = max(1, min(image.width, round(image.height * width / height)))
        kept_height = max(1, min(image.height, round(image.width * height / width)))
        left, top = (image.width - kept_width) // 2, (image.height - kept_height) // 2
        image = image.crop((left, top, left + kept_width, top + kept_height))
    return image.resize((width, height), pillow.Resampling.LANCZOS)
