"""The one way from a file to the picture the AR half, the decoder and the dump all see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadImage
from glmimg.job import Fit, SourceRef
from glmimg.sources.colour import to_srgb
from glmimg.sources.fitting import SourceBounds, choose_size, fit_picture
from glmimg.sources.opening import OpenedPicture, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE = "#ffffff"


@dataclass(frozen=True)
class PreparedSource:
    """A source picture as both stages read it.

    ref:   which file it is and how it was prepared
    image: RGB in sRGB, of the ref's height and width
    notes: what a person should know about it, such as "first frame of 12"
    """

    ref: SourceRef
    image: Image
    notes: tuple[str, ...] = ()


def prepare_source(path: Path, bounds: SourceBounds, fit: Fit = "pad", background: str = WHITE) -> PreparedSource:
    """Read a picture file and bring it to the nearest size and mode the model reads.

    An RGB picture with sides that are multiples of 32 within the bounds stays bit for bit.
    raises: BadImage (exit 3)
    """
    opened = open_picture(path)
    height, width, used = choose_size(opened.image.height, opened.image.width, bounds, fit)
    ref = SourceRef(path=str(path), sha256=opened.sha256, height=height, width=width, fit=used, background=background)
    return _render(opened, ref)


def prepare_again(path: Path, ref: SourceRef) -> PreparedSource:
    """Prepare a source just as `ref` says it was, from a file that may have moved.

    returns: its ref says where it is now
    raises:  BadImage (exit 3), also when the file is no longer the one that was used
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
    shape: tuple[str, ...] = ()
    if ref.fit is not None:
        was = f"{opened.image.width}x{opened.image.height}"
        shape = (f"{'padded' if ref.fit == 'pad' else 'cropped'} from {was} to {_aspect(ref)}",)
    return PreparedSource(ref, image, opened.notes + notes + shape)


def _aspect(ref: SourceRef) -> str:
    short, long = sorted((ref.height, ref.width))
    sides = f"{long / short:g}", "1"
    return ":".join(sides if ref.width >= ref.height else sides[::-1])
