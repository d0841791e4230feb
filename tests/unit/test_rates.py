"""The cost model: its anchors, its direction, and measured times in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glmimg.engine.rates import StageSeconds, find_card, guess_seconds, plan_workers, read_seconds
from glmimg.errors import BadInput, UsageError


def test_the_published_times_come_out_again() -> None:
    """vllm-omni on an H100 at 1024x1024, 20 steps: 19.0 s and 5.85 s (#3042)."""
    seconds = guess_seconds(find_card("NVIDIA H100 80GB HBM3"), 1024, 1024, steps=20, guided=True, rows=1)
    assert seconds.tokens == pytest.approx(19.0, rel=0.05)
    assert seconds.picture == pytest.approx(5.85, rel=0.05)


def test_a_batch_shares_stage_one() -> None:
    card = find_card("a100")
    alone, batched = (guess_seconds(card, 1024, 1024, steps=50, guided=True, rows=size).tokens for size in (1, 32))
    assert batched * 32 / alone == pytest.approx(33.2 / 20.4, rel=0.01)


def test_enough_workers_and_not_one_more() -> None:
    plan = plan_workers(600, StageSeconds(tokens=1.1, picture=13))
    assert (plan.ar_workers, plan.decoders) == (1, 3)
    assert plan.pictures_per_hour == pytest.approx(3 * 3600 / 13)
    assert plan_workers(3600, StageSeconds(1.1, 13)).ar_workers == 2


def test_an_unknown_card_is_refused() -> None:
    with pytest.raises(UsageError, match="no figures are known"):
        find_card("Voodoo 2")


def test_measured_times_are_read_from_a_batch(tmp_path: Path) -> None:
    lines = [
        {"size": "64x64", "seconds": {"tokens": 1.0, "picture": 3.0}},
        {"size": "64x64", "seconds": {"tokens": 2.0, "picture": None}},
        {"size": "96x64", "seconds": {"tokens": None, "picture": 9.0}},
        ["no", "record"],
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn": ')
    found = read_seconds(str(tmp_path))
    assert (found.tokens, found.picture, found.jobs) == (1.5, 6.0, 2)
    assert read_seconds(str(tmp_path), "64x64").picture == 3.0
    with pytest.raises(BadInput, match="no measured times of pictures of 96x64"):
        read_seconds(str(tmp_path), "96x64")
    with pytest.raises(BadInput, match="no measured times"):
        read_seconds(str(tmp_path / "missing"))
