"""Texts in picture files of every format: they come back whole, whatever they hold, and damage is one sentence."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glmimg.errors import BadImage, OutputError
from glmimg.metadata import FORMATS, MAX_TEXT, NAMESPACE, PARAMETERS, PROVENANCE, TOKENS, encode, format_of, read_texts
from tests.pictures import gradient

SAID = json.dumps({"prompt": 'a "red" <circle> & ]]> \x7f \0 ☃ \U0001f600 \ufffe', "seed": 1})
TEXTS = {PARAMETERS: "a red ☃\nSteps: 1", PROVENANCE: SAID, TOKENS: json.dumps(list(range(900)))}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("length", [0, 70_000, 300_000])
def test_texts_come_back_from_every_format(form: str, length: int) -> None:
    texts = TEXTS | {PROVENANCE: json.dumps(SAID + "x" * length)}
    data = encode(gradient(64, 64), form, texts)
    assert Image.open(io.BytesIO(data)).format == form
    found = read_texts("x", data)
    assert (found[PROVENANCE], found[TOKENS]) == (texts[PROVENANCE], texts[TOKENS])


@pytest.mark.parametrize("form", FORMATS)
def test_without_texts_there_are_none(form: str) -> None:
    assert read_texts("x", encode(gradient(64, 64), form, {})) == {}


def test_pixels_of_a_png_are_those_given_and_quality_is_that_of_the_others() -> None:
    picture = gradient(256, 256)
    again = Image.open(io.BytesIO(encode(picture, "PNG", TEXTS, quality=1)))
    assert again.tobytes() == picture.tobytes()
    for form in FORMATS[1:]:
        assert len(encode(picture, form, {}, quality=10)) < len(encode(picture, form, {}, quality=98))


def test_an_ending_names_a_format_or_is_refused() -> None:
    names = {"a.png": "PNG", "a.JPG": "JPEG", "a.jpeg": "JPEG", "a.webp": "WEBP", "a.avif": "AVIF", "a": "PNG"}
    assert {name: format_of(Path(name)) for name in names} == names
    for name in ("a.gif", "a.png.txt", "a.tokens.json", "a.v2"):
        with pytest.raises(OutputError, match="cannot be written as"):
            format_of(Path(name))


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="no exiftool on this machine: it read nothing")
@pytest.mark.parametrize("form", FORMATS[1:])
def test_exiftool_shows_them_and_leaves_them_in_place(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{form.lower()}"
    path.write_bytes(encode(gradient(64, 64), form, TEXTS | {PROVENANCE: json.dumps(SAID + "x" * 70_000)}))
    (shown,) = json.loads(subprocess.run(["exiftool", "-j", path], capture_output=True, check=True).stdout)
    assert shown["UserComment"].startswith("a red ☃")
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-Artist=somebody", path], check=True)
    assert read_texts(path)[TOKENS] == TEXTS[TOKENS]


@pytest.mark.skipif(shutil.which("convert") is None, reason="no ImageMagick on this machine: it wrote nothing")
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_imagemagick_takes_them_along(form: str, tmp_path: Path) -> None:
    path, smaller = (tmp_path / f"{name}.{form.lower()}" for name in ("x", "smaller"))
    path.write_bytes(encode(gradient(64, 64), form, TEXTS))
    subprocess.run(["convert", path, "-resize", "50%", smaller], check=True)
    assert Image.open(smaller).size == (32, 32)
    assert read_texts(smaller).items() >= {name: TEXTS[name] for name in (PROVENANCE, TOKENS)}.items()


def xmp(inside: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:RDF><rdf:Description xmlns:g="{NAMESPACE}">{inside}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


BOMB = base64.b64encode(zlib.compress(bytes(MAX_TEXT + 1))).decode()


@pytest.mark.parametrize("tokens", ["!", "AAAA", BOMB, base64.b64encode(zlib.compress(b"\xff")).decode()])
def test_damaged_tokens_are_one_sentence(tokens: str) -> None:
    buffer = io.BytesIO()
    gradient(64, 64).save(buffer, format="WEBP", xmp=xmp(f"<g:tokens>{tokens}</g:tokens>"))
    with pytest.raises(BadImage, match="damaged"):
        read_texts("x", buffer.getvalue())


PACKETS = [
    *(b"<", b"\xff\xfe", xmp("<g:tokens>")),
    b'<!DOCTYPE a [<!ENTITY b "c">]>' + xmp("<g:provenance>&b;</g:provenance>"),
]


@pytest.mark.parametrize("packet", PACKETS)
def test_packets_that_are_none_hold_nothing(packet: bytes) -> None:
    buffer = io.BytesIO()
    gradient(64, 64).save(buffer, format="WEBP", xmp=packet)
    assert read_texts("x", buffer.getvalue()) == {}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["text", "international"])
def test_long_texts_of_others_keep_no_png_closed(packed: bool, kind: str) -> None:
    """Pillow itself refuses the packed ones."""
    chunks = PngInfo()
    add = chunks.add_text if kind == "text" else chunks.add_itxt
    chunks.add_text(PROVENANCE, "kept")
    add("comment", "x" * 3_000_000, zip=packed)
    chunks.add_text(TOKENS, "kept too", zip=True)
    buffer = io.BytesIO()
    gradient(64, 64).save(buffer, format="PNG", pnginfo=chunks)
    assert read_texts("x", buffer.getvalue()) == {PROVENANCE: "kept", TOKENS: "kept too"}
