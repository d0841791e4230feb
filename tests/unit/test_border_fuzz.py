"""Presets, pictures and their metadata from anywhere: read, or refused in one line; nothing else, nothing slow.

Two hundred of each by default; the full run is `BORDER_CASES=2000`.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from glmimg.errors import BadImage, BadInput, BadPreset
from glmimg.grid import GridShape
from glmimg.image_io import read_provenance
from glmimg.knob import knobs
from glmimg.metadata import FORMATS, PARAMETERS, PROVENANCE, TOKENS, encode
from glmimg.preset import load_preset
from glmimg.request import JOB, layer_of
from glmimg.sources.colour import read_rgb
from glmimg.sources.prepare import SourceBounds, prepare_source
from glmimg.tokens.dump_file import read_dump
from glmimg.tokens.picture import draw_over
from glmimg.tokens.region import mask_region
from tests.dumps import dump
from tests.jobs import make_job
from tests.pictures import gradient

CASES = int(os.environ.get("BORDER_CASES", "200"))
MAX_SECONDS = 5.0

fuzz = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def check_message(error: BadInput) -> None:
    assert error.exit_code == 3
    assert len(error.message.splitlines()) == 1
    assert error.message.isprintable()
    assert len(error.message) < 1000


def reads(read: Callable[[], Any], refusal: type[BadInput]) -> Any:
    """What a reader makes of it, or None where it was refused as it should be."""
    started = time.process_time()
    try:
        return read()
    except refusal as error:
        check_message(error)
        return None
    finally:
        assert time.process_time() - started < MAX_SECONDS


KEYS = [each.name for model in JOB for each in knobs(model)] + ["description", "template", "prompt", "<<", "=", "x"]
VALUES = st.one_of(
    st.sampled_from(
        ["", "~", "yes", "0", "-1", "7", "9" * 5000, "1e999", ".nan", "-.inf", "0x1F", "1:30", "2024-02-30", "16:9"]
        + ["128x7", "64x64", "0x0", "1,0", "0.1,0.8", "[]", "{}", "{a: 1}", "*a", "&a 3", "!!int abc", "!!binary x"]
        + ["!!python/object/apply:os.system [ls]", "[" * 3000, "{" * 3000, "'" + "x" * 3000 + "'", "|\n  a\n  b", "? a"]
        + ["heun", "jacobi", "{prompt}", "'a {prompt}'", '"\\x07"', '"\\ud800"', "<<: *b", "%", "@", "\t", "- 1"]
    ),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.floats().map(str),
    st.text(max_size=20),
    st.text(max_size=20).map(json.dumps),
)


LINES = st.lists(st.tuples(st.sampled_from(KEYS) | st.text(max_size=8), VALUES), max_size=6)


@fuzz
@given(LINES, st.sampled_from(["\n", "\r\n", "\n\n", " "]))
def test_presets(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], end: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(end.join(f"{key}: {value}" for key, value in lines), encoding="utf-8", errors="surrogateescape")
    preset = reads(lambda: load_preset(str(path)), BadPreset)
    assert preset is None or preset.values.keys() <= set(KEYS)


SHIPPED = sorted((Path(__file__).parents[2] / "presets").glob("*.yaml"))


@fuzz
@given(st.sampled_from(SHIPPED), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), min_size=1, max_size=6))
def test_presets_struck_by_bytes(
    tmp_path_factory: pytest.TempPathFactory, shipped: Path, blows: list[tuple[float, bytes]]
) -> None:
    raw = shipped.read_bytes()
    for place, blow in blows:
        at = int(place * len(raw))
        raw = raw[:at] + blow + raw[at + len(blow) // 2 :]
    path = tmp_path_factory.getbasetemp() / "struck.yaml"
    path.write_bytes(raw)
    reads(lambda: load_preset(str(path)), BadPreset)


MADE: dict[str, Any] = {
    "format": "glmimg.making",
    "job": make_job("a red circle", seed=3, guidance_window=(0.1, 0.5)).model_dump(mode="json"),
    "model": {"id": "demo", "revision": None, "codebook_size": 100, "fingerprint": "aaaa-bbbb", "changes": []},
    "device": "cpu",
    "dtype": "float32",
    "versions": {"glmimg": "0.1.0"},
    "choice": {"model": "demo", "lora": []},
}
CARRIED = json.loads(dump([[1, 2], [3, 4]]).to_json())

JUNK = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    st.sampled_from([0, -1, 7, 1 << 64, 10**400, "x" * 50_000, float("nan"), [[]] * 20_000, [None] * 100_000]),
    st.sampled_from([{"a": 1}, {str(n): n for n in range(20_000)}, [[True]], "\ud800", "\0\x1b[2J", [[[[[[]]]]]]]),
)
PLACES = st.lists(st.integers(0, 30), max_size=4)


def put(record: Any, choices: list[int], value: Any) -> Any:
    """A copy of a record with `value` somewhere in it: each choice goes one level down."""
    if not choices or not isinstance(record, dict | list) or not record:
        return value
    if isinstance(record, list):
        at = choices[0] % len(record)
        return [put(each, choices[1:], value) if number == at else each for number, each in enumerate(record)]
    key = [*record, "surplus"][choices[0] % (len(record) + 1)]
    return record | {key: put(record.get(key), choices[1:], value)}


@fuzz
@given(st.sampled_from(FORMATS), st.sampled_from([PROVENANCE, TOKENS]), PLACES, JUNK)
def test_metadata_of_pictures(
    tmp_path_factory: pytest.TempPathFactory, form: str, which: str, places: list[int], junk: Any
) -> None:
    texts = {PARAMETERS: "x", PROVENANCE: json.dumps(MADE), TOKENS: json.dumps(CARRIED)}
    texts[which] = json.dumps(put(json.loads(texts[which]), places, junk))
    path = tmp_path_factory.getbasetemp() / f"fuzz.{form.lower()}"
    path.write_bytes(encode(Image.new("RGB", (8, 8)), form, texts))
    made = reads(lambda: read_provenance(path), BadImage)
    if made is not None:
        layer_of(made.job.scene, made.job.sampling, made.job.painting)
    reads(lambda: read_dump(path), BadInput)


def picture_files() -> list[bytes]:
    """A small picture in every format that Pillow writes and we read, those of ours with texts inside."""
    texts = {PARAMETERS: "x", PROVENANCE: json.dumps(MADE), TOKENS: json.dumps(CARRIED)}
    files = [encode(gradient(64, 64), form, texts) for form in FORMATS]
    for form in ("GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "JPEG2000", "QOI"):
        buffer = io.BytesIO()
        gradient(64, 64).save(buffer, format=form)
        files.append(buffer.getvalue())
    return files


FILES = picture_files()
OPENERS: list[Callable[[Path], Any]] = [
    lambda path: prepare_source(path, SourceBounds(64, 512)),
    read_rgb,
    lambda path: mask_region(path, (64, 64), GridShape(2, 2)),
    lambda path: draw_over(dump([[1, 2], [3, 4]]), path),
    read_provenance,
    read_dump,
]


@fuzz
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=8),
    st.floats(0, 1) | st.just(1.0),
)
def test_damaged_pictures_through_every_opener(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, blows: list[tuple[float, bytes]], kept: float
) -> None:
    for place, blow in blows:
        at = int(place * len(raw))
        raw = raw[:at] + blow + raw[at + len(blow) :]
    path = tmp_path_factory.getbasetemp() / "struck.png"
    path.write_bytes(raw[: int(kept * len(raw))])
    for opener in OPENERS:
        reads(lambda opener=opener: opener(path), BadInput)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": 0}, "steps: "),
        ({"height": 7, "width": 128}, "multiples of 32"),
        ({"sampling": {"temperature": float("nan"), "top_p": 0.5}}, "temperature: "),
        ({"sampling": {"temperature": -1, "top_p": 0.5}}, "temperature: "),
        ({"seed": 1 << 63}, "seed: "),
        ({"prompt": 3}, "prompt: "),
        ({"guidance_window": [0.9, 0.1]}, "the smaller first"),
        ({"guidance_window": [-1, 2]}, "not two numbers from 0 to 1"),
        ({"drop": {"region": "x", "cells": [[True]]}}, "the cells to drop are not 2x2"),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_jobs_in_pictures_that_cannot_be(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    made = MADE | {"job": MADE["job"] | change}
    (tmp_path / "x.png").write_bytes(encode(Image.new("RGB", (8, 8)), "PNG", {PROVENANCE: json.dumps(made)}))
    with pytest.raises(BadImage, match="metadata is damaged") as refusal:
        read_provenance(tmp_path / "x.png")
    assert reason in refusal.value.message
