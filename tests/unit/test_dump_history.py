"""Dumps of every version stay readable for good: files kept from the day each format was fixed, and the schema."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import SCHEMA, parse_dump, read_dump
from tests.generate import schema

KEPT = Path(__file__).parents[1] / "data" / "dumps"
MANIFEST = {
    f"{folder.name}/{name}": facts
    for folder in sorted(KEPT.iterdir())
    for name, facts in json.loads((folder / "manifest.json").read_text()).items()
}


@pytest.mark.parametrize("name", MANIFEST)
def test_a_kept_file_reads_as_it_did(name: str) -> None:
    facts, path = MANIFEST[name], KEPT / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"], "kept files are never changed"
    dump = read_dump(path)
    assert hashlib.sha256(repr(dump.target.tokens).encode()).hexdigest() == facts["target"]
    assert (dump.prompt, dump.seed) == (facts["prompt"], facts["seed"])
    assert parse_dump(dump.to_json().encode(), name) == dump


def test_every_kept_file_is_in_the_manifest() -> None:
    assert {str(path.relative_to(KEPT)) for path in KEPT.rglob("*.tokens.json")} == set(MANIFEST)


def test_the_kept_files_use_every_field() -> None:
    kept = [read_dump(KEPT / name) for name in MANIFEST]
    used = set().union(*(dump.model_fields_set for dump in kept))
    assert used == set(TokenDump.model_fields)
    grids = [grid for dump in kept for grid in dump.grids]
    assert any(grid.logprobs and grid.entropy for grid in grids)


@pytest.mark.parametrize("name", MANIFEST)
def test_only_version_1_does_not_know_how_it_is_painted(name: str) -> None:
    dump = read_dump(KEPT / name)
    assert f"v{dump.version}" == Path(name).parent.name
    assert (dump.painting is None) == (dump.version == 1)


def test_what_is_not_said_stays_out_of_the_file() -> None:
    text = read_dump(KEPT / "v1" / "plain.tokens.json").to_json()
    assert "parents" not in json.loads(text)
    assert "logprobs" not in text


def test_the_shipped_schema_is_the_code() -> None:
    assert SCHEMA.read_text() == schema(), "Run python -m tests.generate"


def test_the_schema_names_every_field_and_forbids_others() -> None:
    published = json.loads(SCHEMA.read_text())
    assert set(published["properties"]) == set(TokenDump.model_fields)
    assert published["additionalProperties"] is False
    assert {"format", "version", "prompt", "grids", "model"} <= set(published["required"])
    assert published["properties"]["version"]["enum"] == [1, 2]
