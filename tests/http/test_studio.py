"""Turns: no client waits until another's whole list is done."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from glmimg.engine.complete import complete
from glmimg.engine.engine import Engine
from glmimg.engine.http.studio import Finished, News, Studio, Ticket
from glmimg.engine.stages import Scope
from tests.batch.stubs import StubStages, stub_checkpoint


@pytest.mark.parametrize("both", [True, False])
def test_clients_take_turns(tmp_path: Path, both: bool) -> None:
    order: list[str] = []
    all_done, checkpoint = threading.Event(), stub_checkpoint(tmp_path)

    def ticket(client: str, number: int, seed: int) -> Ticket:
        job = complete({"prompt": client, "seed": seed, "size": None}, checkpoint)

        def tell(news: News) -> None:
            if isinstance(news, Finished):
                order.append(f"{client}{number}")
                if len(order) == 7:
                    all_done.set()

        return Ticket(client, job, tell)

    stages: Any = StubStages(seconds=0.02, both=both)
    studio = Studio(Engine(stages, Scope(64, 64), keep_both=both), is_exact=True, rows=2)
    studio.submit([ticket("a", number, number) for number in range(6)])
    time.sleep(0.03)
    studio.submit([ticket("b", 0, 9)])
    assert all_done.wait(10)
    studio.close()
    assert sorted(order) == ["a0", "a1", "a2", "a3", "a4", "a5", "b0"]
    assert order.index("b0") < 5
    assert [each for each in order if each[0] == "a"] == [f"a{number}" for number in range(6)]
    assert both or stages.loads.count("tokens") <= 4


def test_only_tickets_that_share_go_together_where_a_batch_rounds(tmp_path: Path) -> None:
    checkpoint, sizes, done = stub_checkpoint(tmp_path), list[int](), threading.Event()
    stages: Any = StubStages()
    engine = Engine(stages, Scope(64, 64), keep_both=True)
    write = engine.write

    class Counting(Engine):
        def write(self, works: Any, **more: Any) -> Any:
            sizes.append(len(works))
            return write(works, **more)

    left = [4]

    def tell(news: News) -> None:
        if isinstance(news, Finished):
            left[0] -= 1
            if not left[0]:
                done.set()

    studio = Studio(Counting(stages, Scope(64, 64), keep_both=True), is_exact=False, rows=8)
    jobs = [complete({"prompt": "a", "seed": seed, "size": None}, checkpoint) for seed in range(4)]
    studio.submit([Ticket(seed, job, tell, paints=False, shares=seed > 1) for seed, job in enumerate(jobs)])
    assert done.wait(10)
    studio.close()
    assert sorted(sizes) == [1, 1, 2]
