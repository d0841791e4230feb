"""Promise 3: the AR stage always yields a whole grid of valid codes, whatever the head loves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.events import unwatched
from glmimg.job import Job
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.tokens.change import TokenWork
from tests.jobs import make_job, make_sampling
from tests.tiny import Sizes, build_checkpoint

CODEBOOK, VOCABULARY = 24, 40


def love_what_is_forbidden(model: Any) -> None:
    """A head whose largest logits are end-of-image and ids outside the codebook, mostly."""
    with torch.no_grad():
        model.lm_head.weight[CODEBOOK:].mul_(12.0)
        model.lm_head.weight[CODEBOOK + 1].mul_(2.0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> ARStage:
    sizes = Sizes(codebook=CODEBOOK, vision_vocab=VOCABULARY, hidden=16, layers=1, ffn=16, suppress=False)
    folder = build_checkpoint(tmp_path_factory.mktemp("spoilt"), sizes, love_what_is_forbidden)
    return ARStage(Checkpoint("spoilt", folder), place(ModelChoice()), unwatched)


def job(seed: int) -> Job:
    sampling = make_sampling(temperature=0.9, top_p=0.75, top_k=VOCABULARY)
    return make_job(
        prompt="x", height=32, width=256, seed=seed, dit_seed=seed, steps=1, guidance=1.0, sampling=sampling
    )


def test_the_head_really_is_spoilt(stage: ARStage) -> None:
    """Without the guard the stock `generate` stops early or leaves the codebook."""
    from glmimg.ar.prompt import build_prompt

    prompt = build_prompt("x", 32, 256, stage.processor, stage.model)
    spoilt = 0
    for seed in range(10):
        torch.manual_seed(seed)
        ids = stage.model.generate(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask,
            image_grid_thw=torch.tensor([[1, 1, 8], [1, *prompt.grids[0][1]]]),
            images_per_sample=torch.tensor([2]),
            max_new_tokens=prompt.new_tokens,
            do_sample=True,
        )[0, prompt.input_ids.shape[1] :]
        spoilt += len(ids) < prompt.new_tokens or int(ids.max()) >= CODEBOOK
    assert spoilt == 10


def test_two_hundred_seeds_two_hundred_whole_grids(stage: ARStage) -> None:
    grids = set()
    for seed in range(200):
        dump = stage.write([TokenWork(job(seed))], unwatched)[0]
        assert [grid.shape for grid in dump.grids] == [(5, 45), (1, 8)]
        assert all(0 <= token < CODEBOOK for grid in dump.grids for token in grid.flat())
        grids.add(tuple(dump.target.flat()))
    assert len(grids) > 150, "the guard must leave chance its place"
