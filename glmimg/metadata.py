"""Metadata texts inside picture files: written into every format we write, and read back.

A PNG has text chunks. The others carry an XMP packet, which exiftool and photo managers show, and in EXIF the line
other picture tools look for. A JPEG's packet that outgrows its segment goes on in others, as the XMP standard has it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from glmimg.errors import OutputError
from glmimg.pictures import opened

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF"}
"""The formats pictures are written in, by extension."""

FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
QUALITY = 95

PARAMETERS = "parameters"
"""The text other picture tools read: the prompt, then one line of `Key: value` pairs."""

PROVENANCE, TOKENS = "glmimg", "glmimg.tokens"
"""How the picture was made, as JSON; and the tokens it was painted from, as a dump in JSON."""

NO_METADATA = "It was not made by glmimg, was made with --no-metadata, or has lost its metadata."
IN_XMP = {PROVENANCE: "provenance", TOKENS: "tokens"}
NAMESPACE = "urn:glmimg:picture:1"
SEGMENT_BYTES = 65_000
"""A segment of a JPEG ends at 65,533 bytes, names and lengths included."""

EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
MAX_TEXT = 8 << 20
"""Bytes to which packed tokens may unpack: those of the largest picture take 0.2 MB."""

SOFTWARE, EXIF_IFD, USER_COMMENT = 0x0131, 0x8769, 0x9286


def format_of(path: Path) -> str:
    """Pillow's name of the format of a file name; PNG without an extension. Raises OutputError (exit 2)."""
    found = ENDINGS.get(path.suffix.lower(), "" if path.suffix else "PNG")
    if not found:
        raise OutputError(f"{path}: pictures cannot be written as {path.suffix}", f"Use {', '.join(ENDINGS)}.")
    if found == "AVIF":
        from PIL import features

        if not features.check("avif"):
            raise OutputError(f"{path}: this Pillow cannot write AVIF", "pip install --upgrade pillow")
    return found


def encode(image: Image, form: str, texts: Mapping[str, str], quality: int = QUALITY) -> bytes:
    """A picture as the bytes of a file in one of `FORMATS`, with texts inside (ours are ASCII).

    quality: 1 to 100; ignored for PNG, which is lossless
    """
    from PIL.PngImagePlugin import PngInfo

    more: dict[str, Any] = {"quality": quality} if form != "PNG" else {}
    if form == "PNG":
        more["pnginfo"] = chunks = PngInfo()
        for name, text in texts.items():
            chunks.add_text(name, text, zip=name == TOKENS)
    elif texts:
        packed = {name: _packed(text) if name == TOKENS else text for name, text in texts.items()}
        more |= _xmp(form, {IN_XMP[name]: text for name, text in packed.items() if name in IN_XMP})
        more["exif"] = _exif(texts.get(PARAMETERS, ""))
    if form == "JPEG":
        more["subsampling"] = "4:4:4"
    buffer = io.BytesIO()
    image.save(buffer, format=form, **more)
    return buffer.getvalue()


def read_texts(path: Path | str, data: bytes | None = None) -> dict[str, str]:
    """The texts of a picture (or of its bytes) by name; texts of other programs may be among them.

    raises: BadImage (exit 3) for no whole picture of these formats, or damaged texts
    """
    with opened(path, data, formats=FORMATS) as image:
        image.load()
        if image.format == "PNG":
            return dict(getattr(image, "text", {}))
        packets = [_as_bytes(image.info.get("xmp", b"")), _extension(image)]
        found = dict(each for packet in packets for each in _properties(packet))
        texts = {name: found[tag] for name, tag in IN_XMP.items() if tag in found}
        return {name: _unpacked(text) if name == TOKENS else text for name, text in texts.items()}


def _exif(parameters: str) -> bytes:
    from PIL.Image import Exif

    exif = Exif()
    exif[SOFTWARE] = "glmimg"
    comment = b"UNICODE\0" + parameters.encode("utf-16-be")
    exif[EXIF_IFD] = {USER_COMMENT: comment[: SEGMENT_BYTES - 1000]}
    return exif.tobytes()


def _xmp(form: str, properties: Mapping[str, str]) -> dict[str, bytes]:
    """Arguments for Pillow: an XMP packet, and for a JPEG the segments of what does not fit into it."""
    packet = _packet(properties)
    if form != "JPEG" or len(packet) <= SEGMENT_BYTES:
        return {"xmp": packet}
    digest = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    segments = b""
    for start in range(0, len(packet), SEGMENT_BYTES):
        place = digest.encode() + struct.pack(">II", len(packet), start)
        segment = EXTENSION + place + packet[start : start + SEGMENT_BYTES]
        segments += b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{digest}"'
    return {"xmp": _packet({}, note), "extra": segments}


def _packet(properties: Mapping[str, str], note: str = "") -> bytes:
    inside = "".join(
        f"<glmimg:{tag}>{html.escape(text, quote=False)}</glmimg:{tag}>" for tag, text in properties.items()
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:glmimg="{NAMESPACE}" {note}>{inside}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def _extension(image: Image) -> bytes:
    """The parts of an extended packet, joined."""
    segments = [data[len(EXTENSION) + 32 :] for _, data in getattr(image, "applist", []) if data.startswith(EXTENSION)]
    return b"".join(part[8:] for part in sorted(segments, key=lambda part: part[4:8]))


def _properties(packet: bytes) -> Iterator[tuple[str, str]]:
    """Our properties in a packet, written as elements or as attributes."""
    if not packet or b"<!" in packet:  # no packet declares entities
        return
    try:
        elements = list(ElementTree.fromstring(packet.strip(b"\0 \r\n\t")).iter())
    except ElementTree.ParseError:
        return
    for element in elements:
        for name, text in [(element.tag, element.text or ""), *element.items()]:
            if name.startswith(f"{{{NAMESPACE}}}"):
                yield name.rpartition("}")[2], text


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str:
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(base64.b64decode(text, validate=True), MAX_TEXT)
    if not unpacker.eof:
        raise ValueError(f"its tokens are cut off, or unpack to over {MAX_TEXT >> 20} MiB")
    return raw.decode()


def _as_bytes(packet: bytes | str) -> bytes:
    return packet.encode() if isinstance(packet, str) else packet
