"""A file somebody calls a picture: its first frame, upright, or one sentence that says why not."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadImage

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 1 << 30
"""Larger than any picture within Pillow's pixel limit, but for uncompressed ones of 64 bits a pixel."""

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
    with _open_regular(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        image, notes = _decode(path, file)
    return OpenedPicture(image, sha256, notes)


def hash_file(path: Path) -> str:
    """SHA-256 of a regular file's bytes, as 64 hex digits. Raises BadImage (exit 3)."""
    with _open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_regular(path: Path) -> io.BufferedReader:
    """Open without ever waiting: a pipe nobody writes to would hold us for good."""
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


def _decode(path: Path, file: io.BufferedReader) -> tuple[Image, tuple[str, ...]]:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image: Image = pillow.open(file)
            image.load()
        except UnidentifiedImageError as error:
            raise _no_picture(path, file) from error
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
            raise BadImage(
                path, f"is a damaged picture: {_first_line(error)}", "Save it anew, as PNG or JPEG."
            ) from error
        upright, turned = _turn_upright(image)
        notes = tuple(filter(None, (_frame_note(image), turned)))
    return upright, notes


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


def _no_picture(path: Path, file: io.BufferedReader) -> BadImage:
    file.seek(0)
    head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return BadImage(path, "is an SVG, a drawing without pixels", "Convert it to PNG first.")
    return BadImage(path, "is not a picture in a format Pillow reads", "Convert it to PNG or JPEG first.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
