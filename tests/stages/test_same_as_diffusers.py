"""Promise 1: the same seed gives diffusers' own tokens and pixels, bit for bit (CPU, fp32)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.engine.orders import Order
from glmimg.runtime.checkpoint import Checkpoint
from tests.jobs import make_desk, make_job, make_sampling
from tests.stages.stock import stock_pipeline, stock_tokens

CASES = [
    ("a red circle", 128, 128, 1, 1.5),
    ("a red circle on a blue background", 96, 160, 2, 2.5),
    ("一只红色的猫", 192, 64, 3, 1.0),
    ("a sign that says 'OPEN'", 64, 64, 4, 1.5),
    ("海报：“你好”、「世界」 and 'two' \"words\"", 160, 96, 5, 2.5),
    ("an 'even' \"number\" of quotations", 128, 64, 6, 1.0),
]


@pytest.mark.parametrize(("prompt", "height", "width", "seed", "guidance"), CASES)
def test_tokens_and_pixels(tiny: Path, prompt: str, height: int, width: int, seed: int, guidance: float) -> None:
    job = make_job(
        prompt=prompt,
        height=height,
        width=width,
        seed=seed,
        dit_seed=seed,
        steps=4,
        guidance=guidance,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )
    painted = next(make_desk(Checkpoint("tiny", tiny), ModelChoice()).draw([Order(job)]))
    assert painted.order.dump.target.tokens == stock_tokens(tiny, prompt, height, width, seed)
    stock = stock_pipeline(tiny)(
        prompt,
        height=height,
        width=width,
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]
    assert stock.size == (width, height)
    assert np.array_equal(np.asarray(stock), np.asarray(painted.picture.image))


@pytest.mark.parametrize(
    ("negative", "guidance_batch"), [("no 'SALE'", False), ("“大减价” and 'two' words", False), ("no 'SALE'", True)]
)
def test_negative_words_are_its_negative_prompt_embeds(tiny: Path, negative: str, guidance_batch: bool) -> None:
    job = make_job("a sign 'OPEN'", height=96, width=64, seed=3, steps=4, guidance=2.5, negative=negative)
    job = job.model_copy(update={"painting": job.painting.model_copy(update={"guidance_batch": guidance_batch})})
    painted = next(make_desk(Checkpoint("tiny", tiny), ModelChoice()).draw([Order(job)]))
    pipeline = stock_pipeline(tiny)
    with torch.no_grad():  # as the pipeline makes its own: with gradients attention takes another kernel
        embeds = pipeline._get_glyph_embeds([negative], 2048, torch.device("cpu"), torch.float32)
    stock = pipeline(
        "a sign 'OPEN'",
        height=96,
        width=64,
        num_inference_steps=4,
        guidance_scale=2.5,
        negative_prompt_embeds=embeds,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    distance = np.abs(np.asarray(stock).astype(int) - np.asarray(painted.picture.image).astype(int)).max()
    assert distance <= guidance_batch, "both branches in one batch round the last bit otherwise"
