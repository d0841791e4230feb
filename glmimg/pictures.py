"""The only way to read picture files: a fixed list of formats, and a one-sentence error for everything else.

Pillow hands some formats to other programs (a PostScript file, whatever its name, to Ghostscript). Only formats that
Pillow decodes by itself are listed.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from glmimg.errors import BadImage
from glmimg.files import hash_file, open_regular
from glmimg.text import how_to_install

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = (
    *("PNG", "JPEG", "JPEG2000", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF"),
    *("PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "IM", "QOI"),
)
"""Pillow's names of the formats that are read; none of them starts another program."""

PNG = ("PNG",)

METADATA_FAULTS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, struct.error)
"""What Pillow's parsers raise for damaged EXIF blocks and profiles."""

SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"\0\0\0")
"""First bytes of the picture files that glmimg writes; AVIF and HEIC begin with the length of a first box."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
MAX_TEXT = 1 << 20
"""Unpacked size of a PNG's text chunk beyond which Pillow refuses the picture; such chunks are left out."""


@contextmanager
def opened(path: Path | str, data: bytes | None = None, *, formats: Sequence[str] = FORMATS) -> Iterator[Image]:
    """A picture file (or the bytes read of it), opened by Pillow; its pixels are decoded when they are used.

    raises: BadImage (exit 3), also for what goes wrong inside the context: no regular file, no picture of these
            formats, a damaged or a too large one
    """
    file: IO[bytes] = open_regular(Path(path)) if data is None else io.BytesIO(data)
    with file, _damage_named(path), _decoded(path, _without_long_texts(file), formats) as image:
        yield image


def is_picture(head: bytes) -> bool:
    """Whether bytes begin like a picture file that glmimg writes."""
    return head.startswith(SIGNATURES)


@dataclass(frozen=True)
class OpenedPicture:
    """A decoded picture file.

    image:  in whatever mode the file has, turned as its EXIF orientation says
    sha256: of the file's bytes
    notes:  what was left out, such as "first frame of 12"
    """

    image: Image
    sha256: str
    notes: tuple[str, ...]


def open_picture(path: Path) -> OpenedPicture:
    """Read and decode a whole picture file. Raises BadImage (exit 3), also for anything but a regular file."""
    sha256 = hash_file(path)
    with opened(path) as image:
        image.load()
        upright, turned = _turn_upright(image)
        return OpenedPicture(upright, sha256, tuple(filter(None, (_frame_note(image), turned))))


def _turn_upright(image: Image) -> tuple[Image, str]:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image), ""
    except METADATA_FAULTS:
        return image.copy(), "its EXIF block is damaged and was ignored"


def _frame_note(image: Image) -> str:
    """A note that the file has more frames. Counting them reads every frame, so it comes last."""
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
            (pillow.preinit if formats == PNG else pillow.init)()  # forty formats take their time to import
            head = file.read(64)
            file.seek(0)
            is_heif = head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and b"avif" not in head
            if is_heif and formats == FORMATS:
                formats = (_heic(path),)
            image = pillow.open(file, formats=[name for name in formats if name in pillow.OPEN])
        except UnidentifiedImageError as error:
            raise _no_picture(path, file) from error
        with image:
            yield image


def _heic(path: Path | str) -> str:
    """The format of a HEIC picture, made known to Pillow. Raises BadImage (exit 3) without pillow-heif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise BadImage(path, "is a HEIC picture, which needs pillow-heif", how_to_install("heic")) from error
    register_heif_opener()
    return "HEIF"


def _without_long_texts(file: IO[bytes]) -> IO[bytes]:
    """The file, or a copy without the text chunks because of which Pillow refuses a PNG."""
    spans = [(start, end) for start, end, kind, body in _text_chunks(file) if _is_long(kind, body)]
    file.seek(0)
    if not spans:
        return file
    raw = file.read()
    for start, end in reversed(spans):
        raw = raw[:start] + raw[end:]
    return io.BytesIO(raw)


def _text_chunks(file: IO[bytes]) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Start, end, kind and content of each text chunk, if this is a PNG."""
    place, is_png = 8, file.read(8) == SIGNATURES[0]
    while is_png and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        end = place + length + 12
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield place, end, kind, file.read(length)
        place = file.seek(end)


def _is_long(kind: bytes, body: bytes) -> bool:
    packed = body.partition(b"\0")[2][1:] if kind == b"zTXt" else b""
    if kind == b"iTXt" and body.partition(b"\0")[2].startswith(b"\1"):
        packed = body.split(b"\0", 4)[-1]
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, MAX_TEXT)
    except zlib.error:
        return False  # that Pillow reads as no text
    return len(body) > MAX_TEXT or bool(unpacker.unconsumed_tail)


@contextmanager
def _damage_named(path: Path | str) -> Iterator[None]:
    """Turn any error of a decoder into one sentence about the file."""
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
        raise BadImage(path, f"is a damaged picture: {reason}", "Save it again as PNG or JPEG.") from error


def _no_picture(path: Path | str, file: IO[bytes]) -> BadImage:
    file.seek(0)
    head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    reason = "is not a picture in a supported format"
    if not head:
        reason = "is empty"
    elif b"<svg" in head:
        reason = "is an SVG, a vector drawing"
    elif head.startswith((b"%!ps", b"%pdf", b"\xc5\xd0\xd3\xc6")):
        reason = "is not a picture but PostScript or PDF, which are programs"
    return BadImage(path, reason, "Convert it to PNG, JPEG or WebP first.")
