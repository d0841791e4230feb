"""The one way from a file to the picture the AR half, the decoder and the dump all see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadImage
from glmimg.job import Fit, SourceRef
from glmimg.pictures import OpenedPicture, open_picture
from glmimg.sources.colour import WHITE, to_srgb
from glmimg.sources.fitting import SourceBounds, choose_size, fit_picture

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PreparedSource:
    """A source picture as both stages read it: RGB in sRGB, of the ref's height and width.

    notes: what a person should know about it, such as "first frame of 12"
    """

    ref: SourceRef
    image: Image
    notes: tuple[str, ...] = ()


def prepare_source(path: Path, bounds: SourceBounds, fit: Fit = "pad", background: str = WHITE) -> PreparedSource:
    """Read a picture file and bring it to the nearest size and mode the model reads. Raises BadImage (exit 3).

    An RGB picture with sides that are multiples of 32 within the bounds stays bit for bit.
    """
    opened = open_picture(path)
    height, width, used = choose_size(opened.image.height, opened.image.width, bounds, fit)
    ref = SourceRef(path=str(path), sha256=opened.sha256, height=height, width=width, fit=used, background=background)
    return _render(opened, ref)


def prepare_again(path: Path, ref: SourceRef) -> PreparedSource:
    """Prepare a source just as `ref` says it was, from a file that may have moved: the ref returned says where it is.

    raises: BadImage (exit 3), also when the file is no longer the one that was used
    """
    opened = open_picture(path)
    if opened.sha256 != ref.sha256:
        raise BadImage(path, "has changed since: it is not the picture that was used")
    return _render(opened, ref.model_copy(update={"path": str(path)}))


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
