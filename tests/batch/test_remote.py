"""A batch into an object store: whole objects, results in parts, the same pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from glmimg.engine.batch import remote
from glmimg.engine.batch.folder import open_store
from glmimg.errors import DeviceLost, OutputError
from tests.batch.conftest import Run

URI = "memory://bucket/out"


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


def test_draws_and_resumes_as_in_a_folder(
    draw: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LINES_A_PART", 2)
    text = "a\nb\nc\nraise picture\nd"
    draw(text)
    run = draw(text, out=URI)
    assert [record.status for record in run.records].count("done") == 4
    files = fsspec.filesystem("memory")
    for path in (tmp_path / "out").glob("*.png"):
        assert files.cat_file(f"/bucket/out/{path.name}") == path.read_bytes()
    assert len(files.ls("/bucket/out/results", detail=False)) == 3
    merged = [json.loads(line) for line in files.cat_file("/bucket/out/results.jsonl").splitlines()]
    assert sorted(record["name"] for record in merged) == sorted(record.name for record in run.records)
    again = draw(text, out=URI)
    assert [record.prompt for record in again.records] == ["raise picture"]
    assert len(again.work.done) == 4


def test_a_protocol_nobody_knows_is_refused() -> None:
    with pytest.raises(OutputError, match="no-such"):
        open_store("no-such://place")
    with pytest.raises(OutputError, match=r"s3fs|credentials|cannot be used"):
        open_store("s3://bucket/out")


def test_a_process_that_dies_on_a_job_is_remembered_until_it_is_forgiven() -> None:
    store = open_store(URI)
    with store.claim("a"), store.claim("b"):
        assert store.deaths() == {"a": 1, "b": 1}
    assert store.deaths() == {}
    for _ in range(2):
        with pytest.raises(DeviceLost), store.claim("a"):
            raise DeviceLost("gone", "")
    assert open_store(URI).deaths() == {"a": 2}
    store.forgive("a")
    assert store.deaths() == {}
