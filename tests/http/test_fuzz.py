"""A sample of the nonsense that `tests.bench.http` throws at the server."""

from __future__ import annotations

from tests.bench.http import fuzz


def test_nonsense_is_answered_and_nothing_more() -> None:
    found = fuzz(250, seed=5)
    assert (found["faults"], found["bugs"], found["still waiting"]) == ([], [], 0)
    assert found["statuses"]["200"] > 3
    assert found["statuses"]["400"] > 20
