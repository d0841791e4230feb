"""The one way in for picture files: a closed list of formats, and one sentence for whatever is not one.

Pillow hands some formats to other programs (a PostScript file, whatever its name, to Ghostscript). Only formats that
Pillow decodes by itself are listed.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from glmimg.errors import BadImage

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = (
    *("PNG", "JPEG", "JPEG2000", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF"),
    *("PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "IM", "QOI"),
)
"""What Pillow calls the formats that are read, none of which starts a program."""

PNG = ("PNG",)
"""What glmimg writes, and so the only format whose metadata it reads."""

METADATA_FAULTS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, struct.error)
"""What Pillow's parsers raise for damaged EXIF blocks and profiles."""

MAX_BYTES = 1 << 30
"""Larger than any picture within Pillow's pixel limit, but for uncompressed ones of 64 bits a pixel."""


@contextmanager
def opened(path: Path | str, data: bytes | None = None, *, formats: Sequence[str] = FORMATS) -> Iterator[Image]:
    """A picture file (or the bytes read of it), opened by Pillow; its pixels are decoded when they are used.

    raises: BadImage (exit 3), also for what goes wrong inside the context: no regular file, no picture of these
            formats, a damaged or a too large one
    """
    file: IO[bytes] = open_regular(Path(path)) if data is None else io.BytesIO(data)
    with file, _damage_named(path), _decoded(path, file, formats) as image:
        yield image


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
    """Read and decode a picture file whole. Raises BadImage (exit 3), also for what is no regular file."""
    sha256 = hash_file(path)
    with opened(path) as image:
        image.load()
        upright, turned = _turn_upright(image)
        return OpenedPicture(upright, sha256, tuple(filter(None, (_frame_note(image), turned))))


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
    return "" if frames < 2 else f"first {'page' if image.format == 'TIFF' else 'frame'} of {frames}"


@contextmanager
def _decoded(path: Path | str, file: IO[bytes], formats: Sequence[str]) -> Iterator[Image]:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pillow.init()
            image = pillow.open(file, formats=[name for name in formats if name in pillow.OPEN])
        except UnidentifiedImageError as error:
            raise _no_picture(path, file) from error
        with image:
            yield image


@contextmanager
def _damage_named(path: Path | str) -> Iterator[None]:
    """Turn whatever a decoder stumbles over into one sentence about the file."""
    from PIL import Image as pillow

    try:
        yield
    except BadImage:
        raise
    except pillow.DecompressionBombError as error:
        limit = 2 * (pillow.MAX_IMAGE_PIXELS or 0) // 1_000_000
        reason = f"unpacks to more than {limit} million pixels, Pillow's limit against decompression bombs"
        raise BadImage(path, reason, "If it is a real picture, scale it down first.") from error
    except MemoryError as error:
        raise BadImage(path, "does not fit into memory", "Scale it down first.") from error
    except Exception as error:  # a decoder may stumble over a damaged file in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadImage(path, f"is a damaged picture: {reason}", "Save it anew, as PNG or JPEG.") from error


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, opened without ever waiting: a pipe nobody writes to would hold us for good.

    raises: BadImage (exit 3)
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise BadImage(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if reason := _unreadable(os.fstat(descriptor)):
        os.close(descriptor)
        raise BadImage(path, reason)
    return os.fdopen(descriptor, "rb")


def _unreadable(status: os.stat_result) -> str:
    reasons = {
        "is a folder, not a picture": stat.S_ISDIR(status.st_mode),
        "is a pipe or a device, not a picture file": not stat.S_ISREG(status.st_mode),
        "is empty": status.st_size == 0,
        f"is over {MAX_BYTES >> 30} GiB, no picture we can read is that large": status.st_size > MAX_BYTES,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _no_picture(path: Path | str, file: IO[bytes]) -> BadImage:
    file.seek(0)
    head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    reason = "is not a picture in a format that is read"
    if b"<svg" in head:
        reason = "is an SVG, a drawing without pixels"
    elif head.startswith((b"%!ps", b"%pdf", b"\xc5\xd0\xd3\xc6")):
        reason = "is not a picture but PostScript or PDF, which are programs"
    return BadImage(path, reason, "Convert it to PNG, JPEG or WebP first.")
