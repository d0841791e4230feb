"""Damaged and hostile checkpoints: each is drawn with, or refused with exit 4 in seconds; `models check` agrees.

GLMIMG_HOSTILE_CHECKPOINTS sets how many mutations are tried, 40 by default.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glmimg.choice import ModelChoice
from glmimg.engine.complete import complete
from glmimg.engine.orders import Order
from glmimg.errors import ModelError, NotFinite
from glmimg.job import Size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.health import find_faults
from tests.jobs import make_desk

CASES = int(os.environ.get("GLMIMG_HOSTILE_CHECKPOINTS", "40"))
LONGEST_S = 5.0
CONFIGS = [
    "model_index.json",
    "vision_language_encoder/config.json",
    "vision_language_encoder/generation_config.json",
    "processor/tokenizer_config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
]
WEIGHTS = ["vision_language_encoder/model", "text_encoder/model", "transformer/diffusion_pytorch_model",
           "vae/diffusion_pytorch_model"]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([10**9, 2**63, -(10**9)]),
    st.floats(), st.sampled_from([0.0, -1.0, 1e300, 0.5]), st.text(max_size=8), st.just([]), st.just({}),
    st.lists(st.integers(-2, 9), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def places_in(document: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document; long lists by their first values."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:3])
        if isinstance(document, list)
        else ()
    )
    return [way] * bool(way) + [each for key, value in inner for each in places_in(value, (*way, key))]


def put(document: Any, way: tuple[Any, ...], change: Callable[[Any, Any], None]) -> None:
    for key in way[:-1]:
        document = document[key]
    change(document, way[-1])


@st.composite
def mutations(draw: st.DrawFn, tiny: Path) -> tuple[str, Callable[[Path], None]]:
    """What is changed, in words, and a function that changes it in a copy."""
    kind = draw(st.sampled_from(["config"] * 4 + ["header", "header", "index"]))
    if kind == "config":
        name = draw(st.sampled_from(CONFIGS))
        document = json.loads((tiny / name).read_text())
        way = draw(st.sampled_from(places_in(document)))
        if draw(st.booleans()) and draw(st.booleans()):
            put(document, way, lambda parent, key: parent.pop(key))
            said = "gone"
        else:
            value = draw(VALUES)
            put(document, way, lambda parent, key: parent.__setitem__(key, value))
            said = repr(value)
        return f"{name} {way}: {said}", lambda folder: write(folder / name, json.dumps(document).encode())
    name = draw(st.sampled_from(WEIGHTS))
    if kind == "index":
        target = draw(st.sampled_from(["../x.safetensors", "/etc/passwd", "", ".", "a/b", "\0", "x" * 300, 7, None]))
        text = json.dumps({"weight_map": {"a": target}}).encode()
        return f"{name} index: {target!r}", lambda folder: write(folder / f"{name}.safetensors.index.json", text)
    raw = (tiny / f"{name}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    way = draw(st.sampled_from(places_in(header)))
    value = draw(VALUES)
    put(header, way, lambda parent, key: parent.__setitem__(key, value))
    text = json.dumps(header).encode()
    stated = draw(st.sampled_from([len(text)] * 6 + [30 * 2**30, 2**64 - 1, 0, len(text) + 1]))
    return (
        f"{name} header {way}: {value!r}, {stated} bytes",
        lambda folder: write(folder / f"{name}.safetensors", struct.pack("<Q", stated) + text + data),
    )


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def copied(tiny: Path, folder: Path) -> Path:
    """A copy whose large files are the same ones until they are written anew."""
    shutil.copytree(tiny, folder, copy_function=os.link)
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 100_000:
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
    for path in folder.rglob("*.safetensors"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    return folder


def draw_with(folder: Path) -> None:
    """A picture of one step, as the command line draws it."""
    checkpoint = Checkpoint("hostile", folder)
    job = complete({"prompt": "a tree 'x'", "size": Size(64, 64), "seed": 1, "steps": 1}, checkpoint)
    list(make_desk(checkpoint, ModelChoice(device="cpu"), size=(64, 64)).draw([Order(job)]))


def test_mutated_checkpoints(tiny: Path, tmp_path: Path) -> None:
    draw_with(tiny)  # imports are no part of the time

    @settings(max_examples=CASES, deadline=None, database=None, derandomize=CASES <= 40,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(mutation=mutations(tiny))
    def check(mutation: tuple[str, Callable[[Path], None]]) -> None:
        said, change = mutation
        folder = copied(tiny, tmp_path / "hostile")
        try:
            change(folder)
            started = time.monotonic()
            refused = None
            try:
                draw_with(folder)
            except (ModelError, NotFinite) as error:
                refused = error
            assert time.monotonic() - started < LONGEST_S, said
            if isinstance(refused, ModelError):
                assert list(find_faults(Checkpoint("hostile", folder))), f"{said}: {refused.message}"
        finally:
            shutil.rmtree(folder)

    check()
