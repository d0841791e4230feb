"""Streamed layers on the pretended card: fetched from page-locked memory, read from their files once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmimg.runtime import stream
from tests.card.conftest import OnTheCard
from tests.card.test_stage_one import grids

SIZE = ("-s", "64x64", "--seed", "3")


@pytest.mark.parametrize("free", [1e12, 0.0], ids=["kept", "read again"])
def test_the_card_fetches_layers_by_itself(
    free: float, on_card: OnTheCard, glmimg: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """In fp32, so that the host's tokens are to be found; and no more waits where more layers come."""
    monkeypatch.setattr(stream, "free_host_bytes", lambda: free)
    here, there, dump = tmp_path / "here.tokens.json", tmp_path / "there.tokens.json", tmp_path / "d.tokens.json"
    assert glmimg("tokens", "x", "-m", tiny, *SIZE, "-o", here).status == 0
    streamed = ("-m", tiny, "--memory", "stream", "--dtype", "fp32")
    short = on_card("tokens", "x", *streamed, *SIZE, "-o", there).events
    long = on_card("tokens", "x", *streamed, "-s", "256x256", "--seed", "3", "-o", dump).events
    assert grids(here) == grids(there)
    assert long["fetched"] > short["fetched"] > 0
    assert long["to card"] == short["to card"]


def test_a_layer_is_read_once_where_the_host_has_room(
    on_card: OnTheCard, tiny: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    read: list[str] = []
    found = stream.read_like
    monkeypatch.setattr(stream, "read_like", lambda files, name, *rest: read.append(name) or found(files, name, *rest))
    on_card("tokens", "x", "-m", tiny, "--memory", "stream", *SIZE, "-o", tmp_path / "x.tokens.json")
    assert len(read) == len(set(read)) > 0
