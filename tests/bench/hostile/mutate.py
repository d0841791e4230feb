"""Ways to spoil bytes and values, all of them drawn from one source of randomness."""

from __future__ import annotations

import json
from random import Random
from typing import Any

PATCHES = (
    *(b"", b"\0", b"\xff", b"[" * 50, b'"', b"1e999", b"-", b"9" * 5000, b"\\ud800", b",", b"\xf0\x9f\x98\x80"),
    *(b"\x1b[2J", b"\r\n", b"../", b"${x}", b"{{", b"%s", b"!!python/object", b"&a *a", b"NaN", b"\xef\xbb\xbf"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 64, 65, 1 << 31, 1 << 63, 1 << 70, 10**400, -(1 << 63), 10**9),
    *(0.0, 0.5, -0.5, 1e-45, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *("", "x", "\0", "\x1b[2J\x07", "../../x", "/etc/passwd", "a\nb", "\ud800", "{prompt}", "[bold]x[/]", "x" * 50_000),
    *("auto", "float16", "cuda:99", "http://127.0.0.1:1/x", "demo", "$(touch x)", "\U0001f642" * 100),
    *([], {}, [[]], [0], [1, 2, 3], [None] * 5000, {"a": {"b": [1]}}, {"": 0}, [[[[[[[]]]]]]], [float("nan")], ["x"]),
)


TEXTS = [value for value in VALUES if isinstance(value, str)]


def spoiled(random: Random, raw: bytes, most: int = 4) -> bytes:
    """Bytes with one blow or up to `most`."""
    for _ in range(random.choice((1, 1, most))):
        at, length = random.randrange(len(raw) + 1), random.choice((1, 2, 4, 8, 40, 400))
        match random.randrange(6):
            case 0:
                raw = raw[:at] + raw[at + length :]
            case 1:
                raw = raw[: at + length] + raw[at:]
            case 2:
                raw = raw[:at] + random.choice(PATCHES) + raw[at:]
            case 3 | 4 if at < len(raw):
                raw = raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :]
            case 5 if random.random() < 0.3:
                raw = raw[:at]
    return raw


def altered(random: Random, document: Any, most: int = 2) -> Any:
    """A copy of a JSON value with one value or `most` replaced, deleted, repeated, renamed or added."""
    document = json.loads(json.dumps(document))
    for _ in range(random.choice((1, 1, most))):
        at, key = _somewhere(random, document)
        if at is None:
            return random.choice(VALUES)
        match random.randrange(8):
            case 0:
                del at[key]
            case 1 if isinstance(at, list):
                at.insert(key, at[key])
            case 2 if isinstance(at, dict):
                at[random.choice(("surplus", "__class__", "auto_map", "x" * 3000, "\x1b[2J"))] = random.choice(VALUES)
            case 3 | 4 if isinstance(at[key], int | float):
                at[key] = at[key] * random.choice((-1, 0, 0.5, 2, 1000)) + random.choice((-1, 0, 1))
            case 5 if isinstance(at[key], str):
                at[key] += random.choice(TEXTS)
            case _:
                at[key] = random.choice(VALUES)
    return document


def _somewhere(random: Random, document: Any) -> tuple[Any, Any]:
    at, key = None, None
    inside = document
    while isinstance(inside, dict | list) and inside and (at is None or random.random() < 0.75):
        at = inside
        key = random.choice(sorted(at)) if isinstance(at, dict) else random.randrange(len(at))
        inside = at[key]
    return at, key


def as_json(value: Any) -> bytes:
    """JSON as a hostile writer has it: lone surrogates and NaN included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
