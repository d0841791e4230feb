"""Mutated copies of the tiny checkpoint: each is drawn with, or refused with exit 4; `models check` first."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.bench.hostile.case import Case
from tests.bench.hostile.mutate import altered, as_json, spoiled

PATHS = ("../x.safetensors", "/etc/passwd", "/dev/zero", "", ".", "x\0y", "model.safetensors/", "nosuch.safetensors")
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "X", "", 3)


@cache
def _files(tiny: Path, ending: str) -> list[Path]:
    return sorted(tiny.rglob(f"*.{ending}"))


def _header(random: Random, raw: bytes) -> bytes:
    """Weights whose header lies: of places, of shapes, of types, of its own length."""
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    name = random.choice(sorted(set(header) - {"__metadata__"}))
    entry: dict[str, Any] = header[name]
    start, end = entry["data_offsets"]
    match random.randrange(9):
        case 0:
            entry["data_offsets"] = random.choice(([0, 0], [start, start], [end, start], [-4, end], [start + 1, end]))
        case 1:
            entry["data_offsets"] = random.choice(
                ([start, 1 << 63], ["0", "4"], [0], None, [0.5, 4], [start, end, end])
            )
        case 2:
            entry["shape"] = random.choice(([], [0], [-1, 4], [1 << 40, 1 << 40], [*entry["shape"], 1], "x", [1.5]))
        case 3:
            entry["dtype"] = random.choice(DTYPES)
        case 4:
            del header[name]
        case 5:
            header[random.choice(("lm_head.weight", "surplus", name + ".x"))] = header.pop(name)
        case 6:
            header = altered(random, header)
        case 7:
            return struct.pack("<Q", random.choice((0, 1, length - 1, length + 1, 30 << 30, 1 << 63))) + raw[8:]
        case _:
            return spoiled(random, raw)
    text = as_json(header)
    return struct.pack("<Q", len(text)) + text + data


def _index(random: Random, tiny: Path, part: str, stem: str) -> dict[str, bytes]:
    """A part's weights said to be in shards, wherever the index likes."""
    raw = (tiny / part / f"{stem}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    names = sorted(set(json.loads(raw[8 : 8 + length])) - {"__metadata__"})
    where = dict.fromkeys(names, f"{stem}.safetensors")
    for name in random.sample(names, 2):
        where[name] = random.choice(PATHS)
    index: Any = {"metadata": {"total_size": random.choice((0, -1, "x", 1 << 70))}, "weight_map": where}
    index = altered(random, index) if random.random() < 0.5 else index
    return {f"model/{part}/{stem}.safetensors.index.json": as_json(index)}


def make(random: Random, shared: Path) -> Case:
    """One file of the checkpoint spoiled."""
    tiny, chance = shared / "tiny", random.random()
    if chance < 0.2:
        file = random.choice(_files(tiny, "safetensors"))
        files = {f"model/{file.relative_to(tiny)}": _header(random, file.read_bytes())}
    elif chance < 0.3:
        stems = {"vision_language_encoder": "model", "text_encoder": "model", "transformer": "diffusion_pytorch_model"}
        part = random.choice(sorted(stems))
        files = _index(random, tiny, part, stems[part])
    elif chance < 0.35:
        file = random.choice(_files(tiny, "jinja"))
        template = random.choice(
            (b"{% for i in range(10**12) %}x{% endfor %}", b"{{", b"{{ 1/0 }}", b"", b"{{ ''.__class__ }}")
        )
        files = {f"model/{file.relative_to(tiny)}": template}
    else:
        file = random.choice(_files(tiny, "json"))
        raw = file.read_bytes()
        raw = spoiled(random, raw) if random.random() < 0.2 else as_json(altered(random, json.loads(raw)))
        files = {f"model/{file.relative_to(tiny)}": raw}
    draw = ["t2i", "a tree", "-m", "./model", "-s", "64x64", "--steps", "1", "--seed", "1", "-o", "out.png"]
    return Case(
        files, [["models", "check", "./model"], draw], frozenset({0, 4}), tiny, excused="not finite", checked=True
    )
