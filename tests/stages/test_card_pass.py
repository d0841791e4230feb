"""The pass for a card in half precision, here on the host in fp32, where it can be held against the plain one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from glmimg.ar.card_pass import CardPass
from glmimg.ar.decode_loop import TextDecoder
from glmimg.ar.prompt import ARPrompt
from glmimg.ar.stage import ARStage
from glmimg.ar.static_decoder import StaticDecoder
from glmimg.choice import ModelChoice
from glmimg.events import unwatched
from glmimg.job import Scene, Size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place

SHAPES = [(1, 64), (2, 64), (1, 128), (3, 192), (1, 256), (2, 320), (1, 384), (1, 448), (4, 512), (1, 576), (1, 640)]
"""Rows, and heights of pictures: more than a function may be compiled for by torch's own limit of eight."""


@pytest.fixture
def stage(tiny: Path) -> ARStage:
    return ARStage(Checkpoint("tiny", tiny), place(ModelChoice()), unwatched, with_vision=False)


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of torch's compiler but its code generation, which takes the time."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def prompts_of(stage: ARStage, rows: int = 2, height: int = 96) -> list[ARPrompt]:
    words = ("a tree", "a tree in the rain", "rain", "three trees")
    return stage._read_prompts([Scene(prompt=text, size=Size(height, 64)) for text in words[:rows]])


def test_it_says_what_the_plain_pass_says(stage: ARStage) -> None:
    """Prompts of two lengths, so that one of them is padded."""
    prompts = prompts_of(stage)
    tokens = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    said = []
    with torch.inference_mode():
        plain = TextDecoder(stage.model, prompts, prompts[0].new_tokens)
        on_card = StaticDecoder(stage.model, compile=False)
        on_card.card_pass = CardPass(stage.model, compiled=False)  # the weights it joins serve the plain pass as well
        on_card.start(prompts, prompts[0].new_tokens)
        for decoder in (plain, on_card):
            said.append(torch.cat([decoder.step(tokens[:, at : at + 1], at) for at in range(5)], dim=1))
    assert torch.allclose(said[0], said[1], rtol=1e-4, atol=1e-5)
    attention = stage.model.model.language_model.layers[0].self_attn
    together = attention.q_proj.weight.untyped_storage().nbytes()
    assert together == sum(each.weight.nbytes for each in (attention.q_proj, attention.k_proj, attention.v_proj))


@pytest.mark.usefixtures("quick_compiler")
def test_one_layer_is_compiled_for_all(stage: ARStage) -> None:
    prompts = prompts_of(stage)
    with torch.inference_mode():
        decoder = StaticDecoder(stage.model, compile=False)
        decoder.card_pass = CardPass(stage.model, compiled=True)
        assert len(decoder.card_pass.layers) > 1
        decoder.start(prompts, prompts[0].new_tokens)
        decoder.step(torch.zeros(2, 1, dtype=torch.int64), 0)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("on_card", [False, True])
def test_shapes_to_come_need_no_code_of_their_own(on_card: bool, stage: ARStage) -> None:
    """A batch may have any number of them, and torch gives up a function that it has compiled for eight."""
    with torch.inference_mode():
        decoder = StaticDecoder(stage.model, compile=not on_card)
        if on_card:
            decoder.card_pass = CardPass(stage.model, compiled=True)
        for rows, height in SHAPES:
            prompts = prompts_of(stage, rows, height)
            decoder.start(prompts, prompts[0].new_tokens)
            decoder.step(torch.zeros(rows, 1, dtype=torch.int64), 0)
    assert counters["stats"]["unique_graphs"] <= 6
