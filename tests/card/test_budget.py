"""Budgets at the real size in bf16, counted on the pretended card: kernels and bytes of a token."""

from __future__ import annotations

from pathlib import Path


def test_a_token(libraries: None, full: Path) -> None:
    """All layers: one replay of so many kernels, which moves hardly more than the weights; one product reads them."""
    from tests.card.card import Card
    from tests.card.height import count_token

    with Card(payload="meta") as card:
        counts, waits, weights = count_token(card, full, size=(1024, 1024))
    assert not waits
    assert counts.launched.total() == 1, "the token goes into its buffer; all else is in the graph"
    assert counts.replayed.total() <= 900
    assert counts.moved.total() <= 1.05 * 2 * weights
