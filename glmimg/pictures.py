"""The one way in for picture files: a closed list of formats, and one sentence for whatever is not one.

Pillow hands some formats to other programs (a PostScript file, whatever its name, to Ghostscript). Only formats that
Pillow decodes by itself are listed.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

MAX_BYTES = 1 << 30
"""Larger than any picture within Pillow's pixel limit, but for uncompressed ones of 64 bits a pixel."""


@contextmanager
def opened(path: Path | str, data: bytes | None = None, *, formats: Sequence[str] = FORMATS) -> Iterator[Image]:
    """A picture file, opened by Pillow; its pixels are decoded when they are used.

    data:    the bytes of the file, where they were read already
    formats: those that are read
    raises:  BadImage (exit 3), also for what goes wrong inside the context: no regular file, no picture, a damaged
             or a too large one
    """
    file: IO[bytes] = open_regular(Path(path)) if data is None else io.BytesIO(data)
    with file, _damage_named(path), decoded(path, file, formats) as image:
        yield image


@contextmanager
def decoded(path: Path | str, file: IO[bytes], formats: Sequence[str] = FORMATS) -> Iterator[Image]:
    """What Pillow makes of an open file. Raises BadImage (exit 3) for no picture of these formats."""
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
        raise BadImage(
            path,
            f"unpacks to more than {limit} million pixels, Pillow's limit against decompression bombs",
            "If it is a real picture, scale it down first.",
        ) from error
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
    if stat.S_ISDIR(status.st_mode):
        return "is a folder, not a picture"
    if not stat.S_ISREG(status.st_mode):
        return "is a pipe or a device, not a picture file"
    if status.st_size == 0:
        return "is empty"
    if status.st_size > MAX_BYTES:
        return f"is over {MAX_BYTES >> 30} GiB, no picture we can read is that large"
    return ""


def _no_picture(path: Path | str, file: IO[bytes]) -> BadImage:
    file.seek(0)
    head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return BadImage(path, "is an SVG, a drawing without pixels", "Convert it to PNG first.")
    if head.startswith((b"%!ps", b"%pdf", b"\xc5\xd0\xd3\xc6")):
        return BadImage(path, "is not a picture but PostScript or PDF, which are programs", "Convert it to PNG first.")
    return BadImage(path, "is not a picture in a format that is read", "Convert it to PNG, JPEG or WebP first.")
