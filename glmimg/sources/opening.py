"""A file somebody calls a picture: its first frame, upright, or one sentence that says why not."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.pictures import open_regular, opened

if TYPE_CHECKING:
    from PIL.Image import Image

METADATA_FAULTS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, struct.error)
"""What Pillow's parsers raise for damaged EXIF blocks and profiles."""


@dataclass(frozen=True)
class OpenedPicture:
    """A decoded picture file.

    image:  in whatever mode the file has, turned as its EXIF orientation says
    sha256: of the file's bytes
    notes:  what of the file was left out, such as "first frame of 12"
    """

    image: Image
    sha256: str
    notes: tuple[str, ...]


def open_picture(path: Path) -> OpenedPicture:
    """Read and decode a picture file whole.

    raises: BadImage (exit 3) for anything that is not a regular file holding a whole picture
    """
    sha256 = hash_file(path)
    with opened(path) as image:
        image.load()
        upright, turned = _turn_upright(image)
        notes = tuple(filter(None, (_frame_note(image), turned)))
    return OpenedPicture(upright, sha256, notes)


def hash_file(path: Path) -> str:
    """SHA-256 of a regular file's bytes, as 64 hex digits. Raises BadImage (exit 3)."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _turn_upright(image: Image) -> tuple[Image, str]:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image), ""
    except METADATA_FAULTS:
        return image.copy(), "its EXIF block is damaged, taken as it lies"


def _frame_note(image: Image) -> str:
    """Say that there is more in the file. Counting visits every frame, so it comes last."""
    try:
        frames = int(getattr(image, "n_frames", 1))
    except METADATA_FAULTS:
        return "first frame; those after it are damaged"
    if frames < 2:
        return ""
    return f"first {'page' if image.format == 'TIFF' else 'frame'} of {frames}"
