"""How many rows a batch has on the pretended card: as many for the second batch as for the first."""

from __future__ import annotations

from pathlib import Path

import torch

from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.machine import free_bytes
from glmimg.tokens.change import TokenWork
from tests.jobs import make_job


def test_what_torch_has_and_does_not_use_is_free(libraries: None) -> None:
    from tests.card.card import Card

    with Card(memory=4e9) as card:
        card.unused = 2e9
        assert free_bytes(torch.device("cuda:0")) == 6e9


def test_a_batch_has_the_rows_of_the_one_before(libraries: None, tiny: Path) -> None:
    """The cache of the first batch lies where that of the second will; memory that comes free later is used."""
    from glmimg.ar.kv_cache import rows_that_fit
    from glmimg.ar.stage import ARStage
    from tests.card.card import Card

    works = [TokenWork(make_job(seed=seed), until="preview") for seed in range(3)]
    with Card(memory=0) as card:
        stage = ARStage(Checkpoint("tiny", tiny), Placement(torch.device("cuda:0"), torch.bfloat16), lambda event: None)
        while stage.rows_that_fit(works[0]) < len(works):
            card.memory += 1e6
        stage.write(works, lambda event: None)
        assert stage.static is not None
        card.memory -= stage.static.kv_cache.nbytes + 1e6  # which a real card would say: the cache, and the graph's own
        assert stage.rows_that_fit(works[0]) == len(works)
        longer, card.memory = stage.static.prepared[1] + 1, 0
        while rows_that_fit(stage.model, longer) < 2:
            card.memory += 1e5
        card.memory -= stage.static.kv_cache.nbytes
        assert stage.static.rows_that_fit(longer) == 2, "the cache goes when another takes its place"
        card.memory += 1e9
        assert stage.rows_that_fit(works[0]) > len(works)
        stage.close()
