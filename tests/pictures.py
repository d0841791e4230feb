"""Picture files of every kind: modes, sizes, formats, odd ones, and files that are no pictures."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Writer = Callable[[Path], Path]


def gradient(width: int, height: int) -> Image.Image:
    """An RGB picture of which no two rows or columns are alike."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) * 255 // (width + height)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def saved(picture: Callable[[], Image.Image], name: str, **options: Any) -> Writer:
    """A writer of `picture` to a file called `name`."""

    def write(folder: Path) -> Path:
        picture().save(folder / name, **options)
        return folder / name

    return write


def mode(name: str, width: int = 80, height: int = 70) -> Callable[[], Image.Image]:
    return lambda: gradient(width, height).convert(name)


def sized(width: int, height: int, name: str = "RGB") -> Writer:
    return saved(lambda: Image.new(name, (width, height), 128 if len(name) == 1 else (200, 90, 10)), "sized.png")


def _translucent() -> Image.Image:
    picture = gradient(80, 70).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def _colour_key(name: str) -> Callable[[], Image.Image]:
    def make() -> Image.Image:
        picture = gradient(80, 70).convert(name)
        picture.info["transparency"] = 7 if name in ("L", "P") else (0, 0, 0)
        return picture

    return make


def _numbers(values: Any) -> Callable[[], Image.Image]:
    return lambda: Image.fromarray(values)


def _frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (80, 70), (60 * number, 100, 200 - 60 * number)) for number in range(count)]


def _animated(name: str) -> Writer:
    def write(folder: Path) -> Path:
        first, *others = _frames(3)
        first.save(folder / name, save_all=True, append_images=others, duration=50)
        return folder / name

    return write


def _pages(folder: Path) -> Path:
    first, *others = _frames(2)
    first.save(folder / "x.tiff", save_all=True, append_images=others)
    return folder / "x.tiff"


def _turned(orientation: int, name: str) -> Writer:
    def write(folder: Path) -> Path:
        exif = Image.Exif()
        exif[0x0112] = orientation
        gradient(96, 64).save(folder / name, exif=exif)
        return folder / name

    return write


def _profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def _sixteen_bit_rgb(folder: Path) -> Path:
    """Pillow writes none: PNG by hand, 16 bits a channel."""
    rows = b"".join(b"\0" + struct.pack(">240H", *range(0, 240 * 256, 256)) for _ in range(70))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 80, 70, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return folder / "x.png"


GRADUAL = np.linspace(0, 1, 80 * 70, dtype=np.float32).reshape(70, 80)

GOOD: dict[str, Writer] = {
    "rgb png": saved(mode("RGB"), "x.png"),
    "rgb png interlaced name without suffix": saved(mode("RGB"), "picture", format="PNG"),
    "rgba png": saved(_translucent, "x.png"),
    "rgba webp": saved(_translucent, "x.webp"),
    "rgba tiff": saved(_translucent, "x.tiff"),
    "la png": saved(lambda: _translucent().convert("LA"), "x.png"),
    "l png": saved(mode("L"), "x.png"),
    "l jpeg": saved(mode("L"), "x.jpg"),
    "l with colour key": saved(_colour_key("L"), "x.png"),
    "rgb with colour key": saved(_colour_key("RGB"), "x.png"),
    "p png": saved(mode("P"), "x.png"),
    "p with colour key": saved(_colour_key("P"), "x.png"),
    "p with alpha table": saved(lambda: _translucent().quantize(16), "x.png"),
    "p gif": saved(mode("P"), "x.gif"),
    "pa tiff": saved(lambda: gradient(80, 70).convert("P").convert("RGBA"), "x.tiff"),
    "1-bit png": saved(mode("1"), "x.png"),
    "1-bit tiff": saved(mode("1"), "x.tiff", compression="group4"),
    "cmyk jpeg": saved(mode("CMYK"), "x.jpg"),
    "cmyk tiff": saved(mode("CMYK"), "x.tiff"),
    "ycbcr tiff": saved(mode("YCbCr"), "x.tiff"),
    "lab tiff": saved(mode("LAB"), "x.tiff"),
    "16-bit png": saved(_numbers((GRADUAL * 65535).astype(np.uint16)), "x.png"),
    "16-bit tiff": saved(_numbers((GRADUAL * 65535).astype(np.uint16)), "x.tiff"),
    "16-bit rgb png": _sixteen_bit_rgb,
    "16-bit pgm": saved(_numbers((GRADUAL * 65535).astype(np.uint16)), "x.pgm"),
    "32-bit tiff": saved(_numbers((GRADUAL * 1e6).astype(np.int32)), "x.tiff"),
    "float tiff 0..1": saved(_numbers(GRADUAL), "x.tiff"),
    "float tiff 0..255": saved(_numbers(GRADUAL * 255), "x.tiff"),
    "float tiff with nan": saved(_numbers(np.where(GRADUAL > 0.5, np.nan, GRADUAL)), "x.tiff"),
    "float tiff with infinities": saved(_numbers(np.where(GRADUAL > 0.5, np.inf, -GRADUAL)), "x.tiff"),
    "jpeg": saved(mode("RGB"), "x.jpg"),
    "jpeg progressive": saved(mode("RGB"), "x.jpeg", progressive=True),
    "jpeg named png": saved(mode("RGB"), "x.png", format="JPEG"),
    "gif animated": _animated("x.gif"),
    "webp animated": _animated("x.webp"),
    "png animated": _animated("x.png"),
    "tiff of pages": _pages,
    "webp": saved(mode("RGB"), "x.webp"),
    "bmp": saved(mode("RGB"), "x.bmp"),
    "tga": saved(mode("RGB"), "x.tga"),
    "pcx": saved(mode("RGB"), "x.pcx"),
    "ppm": saved(mode("RGB"), "x.ppm"),
    "ico": saved(lambda: gradient(64, 64), "x.ico"),
    "jpeg 2000": saved(mode("RGB"), "x.jp2"),
    "dds": saved(mode("RGB"), "x.dds"),
    "sgi": saved(mode("RGB"), "x.sgi"),
    "im": saved(mode("RGB"), "x.im"),
    "turned 3": _turned(3, "x.jpg"),
    "turned 5": _turned(5, "x.jpg"),
    "turned 6": _turned(6, "x.jpg"),
    "turned 8 png": _turned(8, "x.png"),
    "turned 6 webp": _turned(6, "x.webp"),
    "turned 99": _turned(99, "x.jpg"),
    "damaged exif": saved(mode("RGB"), "x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"),
    "srgb profile": saved(mode("RGB"), "x.png", icc_profile=_profile("sRGB")),
    "profile of another mode": saved(mode("RGB"), "x.png", icc_profile=_profile("LAB")),
    "rgba with profile": saved(_translucent, "x.png", icc_profile=_profile("sRGB")),
    "l with rgb profile": saved(mode("L"), "x.jpg", icc_profile=_profile("sRGB")),
    "cmyk with rgb profile": saved(mode("CMYK"), "x.jpg", icc_profile=_profile("sRGB")),
    "profile of rubbish": saved(mode("RGB"), "x.png", icc_profile=b"rubbish" * 40),
    "1x1": sized(1, 1),
    "1x1 rgba": saved(lambda: Image.new("RGBA", (1, 1), (1, 2, 3, 4)), "x.png"),
    "1x12000": sized(1, 12000),
    "12000x1": sized(12000, 1),
    "12000x3": sized(12000, 3, "L"),
    "5x4": sized(5, 4),
    "31x33": sized(31, 33),
    "63x64": sized(63, 64),
    "64x256": sized(64, 256),
    "64x257": sized(64, 257),
    "512x512": sized(512, 512),
    "513x511": sized(513, 511),
    "2049x700": sized(2049, 700),
    "8001x100 1-bit": saved(lambda: Image.new("1", (8001, 100), 1), "x.png"),
}
"""Name to a function that writes such a file into a folder."""


def _bytes(name: str, data: bytes) -> Writer:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def _cut(name: str, part: float) -> Writer:
    def write(folder: Path) -> Path:
        gradient(200, 200).resize((400, 400)).save(folder / name)
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: int(len(raw) * part)])
        return folder / name

    return write


def _bomb(folder: Path) -> Path:
    """A sound 1-bit PNG of 20000x20000 px in 50 kB."""
    rows = zlib.compress(bytes(2501) * 20000, 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return folder / "bomb.png"


def _made(make: Callable[[Path], object]) -> Writer:
    def write(folder: Path) -> Path:
        make(folder / "thing")
        return folder / "thing"

    return write


BAD: dict[str, tuple[Writer, str]] = {
    "not a picture": (_bytes("x.png", b"This is a letter, dear sir."), "is not a picture"),
    "a python file": (lambda folder: Path(__file__), "is not a picture"),
    "random bytes": (_bytes("x.jpg", bytes(range(1, 256)) * 9), "is not a picture"),
    "truncated jpeg": (_cut("x.jpg", 0.5), "truncated"),
    "truncated png": (_cut("x.png", 0.5), "is a damaged picture"),
    "truncated bmp": (_cut("x.bmp", 0.5), "is a damaged picture"),
    "a few bytes of a png": (_bytes("x.png", b"\x89PNG\r\n\x1a\n"), "is not a picture"),
    "zip bomb": (_bomb, "more than 178 million pixels"),
    "folder": (_made(lambda path: path.mkdir()), "is a folder"),
    "missing": (lambda folder: folder / "nobody.png", "No such file"),
    "fifo": (_made(os.mkfifo), "is a pipe"),
    "device": (lambda folder: Path("/dev/zero"), "is a pipe or a device"),
    "svg": (_bytes("x.svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"), "is an SVG"),
    "zero bytes": (_bytes("x.png", b""), "is empty"),
    "pdf": (_bytes("x.pdf", b"%PDF-1.4\n1 0 obj\n"), "is not a picture"),
    "name too long": (lambda folder: folder / ("x" * 300), "File name too long"),
    "loop of links": (_made(lambda path: path.symlink_to(path)), "cannot be read"),
    "link to nowhere": (_made(lambda path: path.symlink_to("nowhere")), "No such file"),
}
"""Name to a writer, and what the refusal must say."""


def write_good(kind: str, folder: Path) -> Path:
    """A file of this kind in `folder`; returns its path."""
    return GOOD[kind](folder)


def write_bad(kind: str, folder: Path) -> Path:
    return BAD[kind][0](folder)
