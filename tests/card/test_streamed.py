"""Streamed layers on the pretended card: fetched from page-locked memory, and read once if that is large."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmimg.runtime import stream
from tests.card.conftest import OnTheCard
from tests.card.test_stage_one import TOKENS, grids

SIZE = ("-s", "64x64", "--seed", "3")


@pytest.mark.parametrize("free", [1e12, 0.0], ids=["kept", "read again"])
def test_the_card_fetches_layers_by_itself(
    free: float, on_card: OnTheCard, glmimg: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """In fp32, so that the host's tokens are to be found. What the host hands over does not grow with them."""
    read: list[str] = []
    find = stream.read_like
    monkeypatch.setattr(stream, "read_like", lambda files, name, *rest: read.append(name) or find(files, name, *rest))
    monkeypatch.setattr(stream, "free_host_bytes", lambda: free)
    here, there = tmp_path / "here.tokens.json", tmp_path / "there.tokens.json"
    assert glmimg("tokens", "x", "-m", tiny, *SIZE, "-o", here).status == 0
    events = on_card("tokens", "x", "-m", tiny, *SIZE, "--memory", "stream", "--dtype", "fp32", "-o", there).events
    assert grids(here) == grids(there)
    assert events["fetched"] > TOKENS > events["to card"]
    assert (len(read) == len(set(read))) == (free > 0)
