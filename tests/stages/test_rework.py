"""Scoring, redrawing and reading pictures, on the tiny checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glmimg.ar.prompt import build_prompt, encode_picture
from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.dit.conditioning import drop_prior
from glmimg.events import unwatched
from glmimg.grid import GridShape
from glmimg.job import Job
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.tokens.change import Redraw, TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.region import CellMask, box_region, count
from tests.jobs import make_job, make_sampling

SAMPLING = make_sampling(temperature=0.9, top_p=0.75, top_k=80)


def job(prompt: str = "a red circle", seed: int = 3) -> Job:
    return make_job(
        prompt=prompt, height=96, width=128, seed=seed, dit_seed=seed, steps=2, guidance=1.5, sampling=SAMPLING
    )


@pytest.fixture(scope="module")
def stage(tiny: Path) -> Iterator[ARStage]:
    stage = ARStage(Checkpoint("tiny", tiny), place(ModelChoice()), unwatched)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def drawn(stage: ARStage) -> TokenDump:
    return stage.write([TokenWork(job())], unwatched)[0]


def boxed(dump: TokenDump, box: str) -> tuple[CellMask, ...]:
    region = box_region(box, (dump.height, dump.width))
    return tuple(region.cells(grid.shape) for grid in dump.grids)


def redrawn(stage: ARStage, dump: TokenDump, box: str, asked: Job) -> TokenDump:
    return stage.redraw(Redraw(asked, tuple(dump.grids), boxed(dump, box), ()), unwatched)


def test_scores_are_those_of_the_model_reading_token_by_token(stage: ARStage, drawn: TokenDump) -> None:
    scored = stage.score(drawn)
    ids = [token for grid in drawn.grids for token in grid.flat()]
    prompt = build_prompt(drawn.prompt, drawn.height, drawn.width, stage.processor, stage.model)
    with torch.inference_mode():
        for number in (0, 1, 100, len(ids) - 1):
            said = torch.tensor([ids[:number]], dtype=torch.int64)
            hidden = stage.model.model.language_model(
                input_ids=torch.cat([prompt.input_ids, said], dim=1),
                attention_mask=torch.ones(1, prompt.input_ids.shape[1] + number, dtype=torch.int64),
                position_ids=torch.cat([prompt.prefill_positions, prompt.decode_positions[..., :number]], dim=-1),
            ).last_hidden_state[0, -1]
            law = torch.softmax(stage.model.lm_head(hidden)[:64].double(), -1)
            flat = [value for grid in scored.grids for row in grid.logprobs or [] for value in row]
            entropy = [value for grid in scored.grids for row in grid.entropy or [] for value in row]
            assert flat[number] == pytest.approx(float(law[ids[number]].log()), abs=2e-4)
            assert entropy[number] == pytest.approx(float(-(law * law.log()).sum()), abs=2e-4)


def test_scoring_changes_nothing_else(stage: ARStage, drawn: TokenDump) -> None:
    scored = stage.score(drawn)
    assert [grid.tokens for grid in scored.grids] == [grid.tokens for grid in drawn.grids]
    assert TokenDump.model_validate_json(scored.to_json()) == scored


def test_redrawing_everything_is_drawing(stage: ARStage, drawn: TokenDump) -> None:
    asked = job("a blue square", seed=8)
    again = redrawn(stage, drawn, "0,0,128,96", asked)
    assert [grid.tokens for grid in again.grids] == [
        grid.tokens for grid in stage.write([TokenWork(asked)], unwatched)[0].grids
    ]


@pytest.mark.parametrize("box", ["32,32,64,64", "0,0,32,32", "96,64,128,96", "0,40,128,41"])
def test_kept_cells_are_kept_and_the_others_drawn_after_reading_them(
    stage: ARStage, drawn: TokenDump, box: str
) -> None:
    new = redrawn(stage, drawn, box, job("a blue square", seed=8))
    masks = boxed(drawn, box)
    for old, fresh, mask in zip(drawn.grids, new.grids, masks, strict=True):
        for row, flags in enumerate(mask):
            for column, anew in enumerate(flags):
                assert anew or old.tokens[row][column] == fresh.tokens[row][column]
    changed = sum(old.flat() != fresh.flat() for old, fresh in zip(drawn.grids, new.grids, strict=True))
    assert changed
    assert new.stats.tokens == sum(map(count, masks))
    flags = [flag for mask in masks for row in mask for flag in row]
    assert new.stats.forward_passes == len(flags) - flags.index(True) - flags[::-1].index(True)


@pytest.mark.parametrize("box", ["0,0,128,96", "32,32,64,64", "0,40,128,41"])
def test_jacobi_redraws_the_tokens_of_one_by_one_drawing_in_fewer_passes(
    stage: ARStage, drawn: TokenDump, box: str
) -> None:
    asked = job("a blue square", seed=8)
    fewer = asked.sampling.model_copy(update={"ar_method": "jacobi"})
    one_by_one = redrawn(stage, drawn, box, asked)
    new = redrawn(stage, drawn, box, asked.model_copy(update={"sampling": fewer}))
    assert [grid.tokens for grid in new.grids] == [grid.tokens for grid in one_by_one.grids]
    assert new.stats.forward_passes < one_by_one.stats.forward_passes


def test_a_redrawn_token_follows_from_what_stands_before_it(stage: ARStage, drawn: TokenDump) -> None:
    """The last cell alone, greedily: the model's first choice after all the others."""
    greedy = job().model_copy(update={"sampling": make_sampling(temperature=1.0, top_p=1e-6, top_k=None)})
    new = redrawn(stage, drawn, "96,64,128,96", greedy)
    ids = [token for grid in new.grids for token in grid.flat()]
    prompt = build_prompt("a red circle", 96, 128, stage.processor, stage.model)
    with torch.inference_mode():
        logits = stage.model.lm_head(
            stage.model.model.language_model(
                input_ids=torch.cat([prompt.input_ids, torch.tensor([ids[:-1]])], dim=1),
                position_ids=torch.cat([prompt.prefill_positions, prompt.decode_positions[..., :-1]], dim=-1),
            ).last_hidden_state[0, -1]
        )
    assert new.target.tokens[-1][-1] == int(logits[:64].argmax())


def test_codes_of_a_picture_are_the_processor_s_own(stage: ARStage) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((256, 192))
    with torch.inference_mode():
        inputs = stage.processor.image_processor(images=[image], return_tensors="pt")
        features = stage.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        features = torch.cat(list(features)) if features[0].ndim == 2 else features
        codes = stage.model.get_image_tokens(features, inputs["image_grid_thw"]).flatten().tolist()
        grid = encode_picture(stage.model, stage.processor, image, "target", GridShape(6, 8))
    assert grid.flat() == codes
    assert len(set(codes)) > 8


def test_dropped_cells_lose_their_four_patches() -> None:
    embedded = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(1, 24, 5) + 1
    kept = drop_prior(embedded, [[False, True, False], [False, False, False]])
    zero = [patch for patch in range(24) if kept[0, patch].abs().sum() == 0]
    assert zero == [2, 3, 8, 9]
    assert drop_prior(embedded, None) is embedded
