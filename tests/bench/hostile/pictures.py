"""Mutated pictures of every format Pillow writes, through every command that reads one."""

from __future__ import annotations

import io
import json
import struct
import zlib
from functools import cache
from pathlib import Path
from random import Random

from tests.bench.hostile.case import Case
from tests.bench.hostile.dumps import FILES as DUMPS
from tests.bench.hostile.mutate import altered, as_json, spoiled

MAGIC = (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch pwned) run\n", b"%PDF-1.4\n", b"<svg/>", b"GIF89a")


@cache
def pictures() -> list[bytes]:
    """A small picture in each format and mode that this Pillow writes."""
    from PIL import Image

    Image.init()
    found = []
    for form in sorted(Image.SAVE):
        for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "F"):
            buffer = io.BytesIO()
            try:
                Image.radial_gradient("L").resize((48, 64)).convert(mode).save(buffer, form)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            found.append(buffer.getvalue())
    return found


@cache
def carriers() -> list[bytes]:
    """Pictures of glmimg, one of each format, which carry how they were made and their tokens."""
    return [_carrier(form, MADE, CARRIED) for form in ("PNG", "JPEG", "WEBP", "AVIF")]


def _carrier(form: str, made: object, carried: object) -> bytes:
    from PIL import Image

    from glmimg.metadata import PARAMETERS, PROVENANCE, TOKENS, encode

    texts = {PARAMETERS: "x", PROVENANCE: json.dumps(made), TOKENS: json.dumps(carried)}
    return encode(Image.new("RGB", (64, 64), (200, 30, 30)), form, texts)


CARRIED = json.loads(DUMPS[0].read_bytes())
MADE = {
    "format": "glmimg.making",
    "job": {
        **{"prompt": "a red circle", "height": 64, "width": 64, "seed": 3, "sources": []},
        **{"sampling": {"temperature": 0.9, "top_p": 0.75}, "dit_seed": 3, "steps": 2, "guidance": 1.5},
    },
    "model": {"id": "demo", "revision": None, "codebook_size": 64, "fingerprint": "aaaa-bbbb", "changes": []},
    "device": "cpu",
    "dtype": "float32",
    "versions": {"glmimg": "0.1.0"},
}

RECORD = {
    **{"name": "x", "status": "done", "key": "x", "prompt": "x", "picture": "x.png", "size": "64x64", "steps": 1},
    **{"seed": 1, "dit_seed": 1, "guidance": 1.5, "temperature": 1.0, "top_p": 1.0},
    **{"model": "stub", "fingerprint": "x", "finished": "2026-01-01T00:00:00Z", "host": "x"},
}
"""What a ledger says of a picture that is to be in the gallery."""


def _spoiled_chunk(random: Random, raw: bytes) -> bytes:
    """A PNG with one chunk spoiled and its check sum right, so that the damage is reached."""
    chunks, at = [], 8
    while at + 12 <= len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        chunks.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]))
        at += 12 + length
    chosen = random.randrange(len(chunks)) if chunks else 0
    chunks = [(kind, spoiled(random, data)) if n == chosen else (kind, data) for n, (kind, data) in enumerate(chunks)]
    if random.random() < 0.2:
        kind = random.choice((b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"pHYs"))
        chunks.insert(1, (kind, random.randbytes(random.randrange(200))))
    return raw[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def picture(random: Random) -> bytes:
    """A spoiled picture, a program that calls itself one, or one with spoiled metadata."""
    chance = random.random()
    if chance < 0.05:
        return random.choice(MAGIC) + random.randbytes(200)
    if chance < 0.15:
        made, carried = MADE, CARRIED
        if random.random() < 0.5:
            made = json.loads(as_json(altered(random, made)))
        else:
            carried = json.loads(as_json(altered(random, carried)))
        return _carrier(random.choice(("PNG", "JPEG", "WEBP")), made, carried)
    if chance < 0.4:
        raw = random.choice(carriers())
        return _spoiled_chunk(random, raw) if raw.startswith(b"\x89PNG") else spoiled(random, raw)
    raw = random.choice(pictures())
    return _spoiled_chunk(random, raw) if raw.startswith(b"\x89PNG") else spoiled(random, raw)


def make(random: Random, shared: Path) -> Case:
    """A spoiled picture with any ending, as source, mask, overlay, parent, and in a gallery."""
    name, hollow = random.choice(("x.png", "x.jpg", "x.webp", "x.tif", "x.eps", "x.psd", "x.tokens.json", "x")), ""
    hollow, good = str(shared / "hollow"), str(random.choice(DUMPS))
    command = random.choice(
        [
            ["edit", "x", "-i", name, "-m", hollow, "-o", "out.png"],
            ["tokens", "x", "-i", name, "-m", hollow, "-o", "out.tokens.json"],
            ["redraw", good, "--mask", name, "-m", hollow, "-o", "out.tokens.json"],
            ["inspect", good, "--over", name, "--picture", "grid.png"],
            ["inspect", name],
            ["inspect", name, "--json"],
            ["replay", name, "-m", hollow, "-o", "out.png"],
            ["decode", name, "-m", hollow, "--any-model", "-o", "out.png"],
            ["encode", name, "-m", hollow, "-o", "out.tokens.json"],
            ["paste", good, name, "-o", "out.tokens.json"],
            ["decode", good, "--source", name, "-m", hollow, "--any-model", "-o", "out.png"],
            ["batch", "jobs.jsonl", "-m", hollow, "-o", "out", "--dry-run"],
            ["batch", "jobs.txt", "-m", hollow, "-o", "out", "--gallery"],
        ]
    )
    raw, jobs = picture(random), json.dumps({"prompt": "x", "sources": [name]}).encode()
    files = {name: raw, "jobs.jsonl": jobs, "jobs.txt": b"x\n"}
    if "--gallery" in command:
        files |= {"out/x.png": raw, "out/results.jsonl": json.dumps(RECORD).encode() + b"\n"}
    return Case(files, [command], stubbed="--gallery" in command)
