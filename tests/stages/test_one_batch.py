"""Both branches of guidance as one batch: the same picture but for rounding, only when asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glmimg.choice import ModelChoice
from glmimg.dit.stage import DiTStage
from glmimg.engine.orders import Order
from glmimg.image_io import read_provenance
from glmimg.job import Painting
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.estimate import Request, denoising_bytes
from glmimg.runtime.layout import Layout
from glmimg.runtime.sizes import dit_sizes
from glmimg.tokens.dump import TokenDump
from tests.conftest import Outcome
from tests.jobs import make_desk, make_job, make_painting, make_sampling

HOST = Placement(torch.device("cpu"), torch.float32)
SETTINGS = make_painting(4, 6, 1.5)


@pytest.fixture(scope="module")
def dump(tiny: Path) -> TokenDump:
    """With quoted words, so that the branches have glyphs of unlike length."""
    job = make_job(
        prompt="a sign that says 'OPEN'", height=64, width=96, seed=4, dit_seed=4, steps=2, guidance=1.5,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )  # fmt: skip
    return next(make_desk(Checkpoint("tiny", tiny), ModelChoice()).write([Order(job)])).dump


def load(tiny: Path, **options: Any) -> DiTStage:
    return DiTStage.load(Checkpoint("tiny", tiny), HOST, lambda event: None, **options)


def paint(stage: DiTStage, dump: TokenDump, settings: Painting) -> np.ndarray:
    return np.asarray(stage.paint(dump, settings, lambda event: None)).astype(int)


@pytest.mark.parametrize("window", [None, (0.2, 0.7)])
def test_one_batch_paints_the_same_picture_but_for_rounding(
    tiny: Path, dump: TokenDump, window: tuple[float, float] | None
) -> None:
    stage, settings = load(tiny), SETTINGS.model_copy(update=dict(guidance_window=window))
    apart = paint(stage, dump, settings)
    together = paint(stage, dump, settings.model_copy(update=dict(guidance_batch=True)))
    assert np.abs(together - apart).max() <= 1
    assert np.array_equal(paint(stage, dump, settings), apart), "the blocks are left as they were"
    assert np.abs(apart - paint(stage, dump, settings.model_copy(update=dict(guidance=1.0)))).max() > 1, (
        "guidance does something"
    )


def test_each_block_runs_once_a_guided_step(tiny: Path, dump: TokenDump) -> None:
    stage, rows = load(tiny), []
    blocks = stage.parts.transformer.transformer_blocks
    for block in blocks:
        block.register_forward_pre_hook(lambda module, arguments: rows.append(arguments[0].shape[0]))
    paint(stage, dump, SETTINGS.model_copy(update=dict(guidance_batch=True, guidance_window=(0.0, 0.5))))
    assert rows == [2] * 3 * len(blocks) + [1] * 3 * len(blocks)


def test_streamed_blocks_take_a_batch_too(tiny: Path, dump: TokenDump) -> None:
    settings = SETTINGS.model_copy(update=dict(guidance_batch=True))
    streamed = load(tiny, layout=Layout(resident=0))
    assert np.array_equal(paint(streamed, dump, settings), paint(load(tiny), dump, settings))
    streamed.close()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_blocks_take_a_batch_too(tiny: Path, dump: TokenDump) -> None:
    settings = SETTINGS.model_copy(update=dict(guidance_batch=True))
    assert np.abs(paint(load(tiny, compile=True), dump, settings) - paint(load(tiny), dump, settings)).max() <= 1


def test_an_edit_keeps_its_sources_to_the_guided_row(
    glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path
) -> None:
    Image.effect_noise((96, 64), 80).convert("RGB").save(tmp_path / "source.png")
    common = ("edit", "make it blue", "-i", tmp_path / "source.png", "--model", tiny, "--seed", "3", "--steps", "3")
    assert glmimg(*common, "-o", tmp_path / "apart.png").status == 0
    assert glmimg(*common, "--guidance-batch", "-o", tmp_path / "together.png").status == 0
    apart, together = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("apart", "together"))
    assert np.abs(together - apart).max() <= 1
    assert read_provenance(tmp_path / "together.png").job.painting.guidance_batch
    assert not read_provenance(tmp_path / "apart.png").job.painting.guidance_batch


def test_a_batch_is_drawn_again_from_its_picture(glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    options = ("--model", tiny, "-s", "64x64", "--seed", "3", "--steps", "3", "--guidance-batch")
    assert glmimg("t2i", "a tree", *options, "-o", first).status == 0
    assert glmimg("replay", first, "--model", tiny, "-o", again).status == 0
    assert first.read_bytes() == again.read_bytes()


def test_a_batch_and_a_cache_do_not_go_together(glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path) -> None:
    options = ("--model", tiny, "--guidance-batch", "--cache", "0.1", "-o", tmp_path / "x.png")
    outcome = glmimg("t2i", "a tree", *options)
    assert outcome.status == 2
    assert "--cache X and --guidance-batch cannot be combined" in outcome.err


def test_the_estimate_counts_both_rows(tiny: Path) -> None:
    sizes = dit_sizes(Checkpoint("tiny", tiny))
    request = Request(2048, 2048, "fp32", on_host=True)
    apart = denoising_bytes(sizes, request)
    assert apart < denoising_bytes(sizes, replace(request, one_batch=True)) < 2 * apart
    unguided = replace(request, guided=False)
    assert denoising_bytes(sizes, replace(unguided, one_batch=True)) == denoising_bytes(sizes, unguided)
