"""Stage 2 against the stock pipeline's decode, `python -m tests.bench.decode [MODEL] [PICTURES] [STEPS]`.

One process holds both; the stock pipeline is handed ready tokens, so that each side encodes the quoted words,
denoises and paints. They take turns, picture by picture, one thread each, and the pixels must be equal bit for bit.
Times are the processor's, which others on the machine disturb less than the wall clock's.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from glmimg.choice import ModelChoice
from glmimg.dit.conditioning import upsample
from glmimg.dit.stage import DiTStage
from glmimg.engine.complete import complete
from glmimg.engine.orders import Order
from glmimg.job import Painting
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from glmimg.tokens.dump import TokenDump
from tests.bench.processes import keep
from tests.jobs import make_desk
from tests.stages.stock import stock_pipeline

PROMPT = "a red circle on a blue background"


def timed(paint: Callable[[], Any]) -> tuple[float, np.ndarray]:
    """Processor seconds of one picture, and its pixels."""
    started = time.process_time()
    image = paint()
    return time.process_time() - started, np.asarray(image)


def stock_paint(pipeline: Any, dump: TokenDump, painting: Painting) -> Any:
    """The stock pipeline with the dump's tokens instead of its own AR half's."""
    return pipeline(
        dump.prompt,
        height=dump.height,
        width=dump.width,
        prior_token_ids=upsample(dump.target.tokens),
        num_inference_steps=painting.steps,
        guidance_scale=painting.guidance,
        generator=torch.Generator().manual_seed(painting.dit_seed),
    ).images[0]


def run(model: str, pictures: int, steps: int) -> dict[str, Any]:
    """Both in turn, `pictures` times after one each that is not counted."""
    torch.set_num_threads(1)
    choice, checkpoint = ModelChoice(model=model), resolve(model)
    job = complete({"prompt": PROMPT, "seed": 1, "steps": steps}, checkpoint)
    desk = make_desk(checkpoint, choice)
    (written,) = desk.write([Order(job)])
    dump = written.dump
    desk.engine.close()
    stage, pipeline = DiTStage.load(checkpoint, place(choice), lambda event: None), stock_pipeline(checkpoint.folder)
    pairs = []
    for _ in range(1 + pictures):
        ours, our_pixels = timed(lambda: stage.paint(dump, job.painting, lambda event: None))
        theirs, their_pixels = timed(lambda: stock_paint(pipeline, dump, job.painting))
        assert np.array_equal(our_pixels, their_pixels), "pixels differ"
        pairs.append((ours, theirs))
        sys.stderr.write(f"{ours:.2f} s against {theirs:.2f} s: {ours / theirs:.3f}\n")
    return {
        "pictures": pictures,
        "steps": steps,
        "cpu_ours_s": round(statistics.median(ours for ours, _ in pairs[1:]), 3),
        "cpu_theirs_s": round(statistics.median(theirs for _, theirs in pairs[1:]), 3),
        "cpu_ratio": round(statistics.median(ours / theirs for ours, theirs in pairs[1:]), 3),
        "cpu_ratios": [round(ours / theirs, 3) for ours, theirs in pairs[1:]],
        "same_pixels": True,
    }


if __name__ == "__main__":
    model, pictures, steps = (sys.argv[1:] + ["demo", "7", "50"][len(sys.argv) - 1 :])[:3]
    keep("decode", {"model": model, **run(model, int(pictures), int(steps))})
