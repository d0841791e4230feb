"""Compressed text layers on the pretended card: captured like plain ones, and what they move for a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmimg.runtime.speed import MOVED


@pytest.mark.parametrize("way", ["int8", "int4", "fp8"])
def test_a_token_is_one_replay_and_moves_what_the_plan_says(way: str, libraries: None, shallow: Path) -> None:
    pytest.importorskip("torchao")
    from tests.card.card import Card
    from tests.card.height import count_token

    with Card(payload="meta") as card:
        counts, waits, weights = count_token(card, shallow, way)
    assert counts.launched.total() == 1, "the token goes into its buffer; all else is in the graph"
    assert not waits
    assert counts.moved.total() == pytest.approx(MOVED[way] * weights, rel=0.05)
