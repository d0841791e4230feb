"""Jacobi against one-by-one drawing on a trained model: same mean log-probability, same scores, within chance.

`python -m tests.bench.lossless [--model demo] [--pictures 200] [--size 256x256] [--paint]`

Both methods draw as many pictures of the same held-out prompts, with different seeds, so that agreement is no
accident of shared randomness. They draw at temperature 1 without a nucleus: the demo's own sampling leaves a
trained model next to no choice, and where nothing is drawn nothing is compared. `--paint` also decodes them and
lets the demo's scorer judge the pixels.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from glmimg.ar.decode_loop import TextDecoder
from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.engine.complete import complete_sampling
from glmimg.engine.orders import PaintOrder
from glmimg.events import unwatched
from glmimg.job import Job, Painting, parse_size
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from tests.bench.processes import keep
from tests.demo.scorer import held_out_prompts, judge
from tests.jobs import make_desk, make_job

METHODS = ("sequential", "jacobi")
FREE: dict[str, float] = {"temperature": 1.0, "top_p": 1.0}


@torch.inference_mode()
def log_probability(stage: ARStage, job: Job, dump: TokenDump) -> float:
    """Mean natural log-probability a token, of the tokens of a dump under the law they are drawn from.

    The tokens are read in one pass, so both methods are judged by the very same arithmetic. A token at the
    edge of the nucleus may fall out of it by rounding; it counts with a probability of 1e-6.
    """
    prompts = stage._read_prompts([job.scene])
    tokens = torch.tensor([[token for grid in dump.grids for token in grid.flat()]], device=stage.model.device)
    decoder = TextDecoder(stage.model, prompts, tokens.shape[1])
    logits = torch.cat((decoder.first_logits[:, None], decoder.read(tokens[:, :-1], 0)), dim=1)[0]
    law = stage._sampler([job], ()).law(logits)
    return float(law.gather(1, tokens.view(-1, 1)).clamp(min=1e-6).log().mean())


def draw(stage: ARStage, jobs: Sequence[Job]) -> tuple[list[TokenDump], dict[str, Any]]:
    """The dumps of the jobs, and what they say about the method."""
    dumps = [stage.write([TokenWork(job)], unwatched)[0] for job in jobs]
    means = [log_probability(stage, job, dump) for job, dump in zip(jobs, dumps, strict=True)]
    passes = sum(dump.stats.forward_passes for dump in dumps) / sum(dump.stats.tokens for dump in dumps)
    return dumps, {
        "pictures": len(jobs),
        "passes_a_token": round(passes, 3),
        "log_probability": round(statistics.mean(means), 6),
        "standard_error": round(statistics.stdev(means) / math.sqrt(len(means)), 6),
    }


def score(model: str, dumps: Sequence[TokenDump], scenes: Sequence[Any]) -> int:
    """How many of the painted dumps the demo's scorer finds wholly right."""
    desk = make_desk(resolve(model), ModelChoice(model=model))
    orders = [PaintOrder(dump, Painting(dit_seed=dump.seed, steps=20, guidance=1.5)) for dump in dumps]
    verdicts = [judge(painted.picture.image, scene) for painted, scene in zip(desk.paint(orders), scenes, strict=True)]
    return sum(all(vars(verdict).values()) for verdict in verdicts)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare the methods. Returns what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--paint", action="store_true")
    said = parser.parse_args(arguments)
    checkpoint = resolve(said.model)
    height, width = parse_size(said.size)
    stage = ARStage(checkpoint, place(ModelChoice(model=said.model)), unwatched)
    prompts = held_out_prompts(said.pictures)
    figures: dict[str, Any] = {"size": said.size, "model": checkpoint.fingerprint(), **FREE}
    for number, method in enumerate(METHODS):
        sampling = complete_sampling({"seed": 0, "ar_method": method, **FREE}, checkpoint)
        jobs = [
            make_job(text, height=height, width=width, seed=1_000_000 * number + place_, sampling=sampling)
            for place_, (text, _) in enumerate(prompts)
        ]
        dumps, figures[method] = draw(stage, jobs)
        if said.paint:
            figures[method]["right"] = score(said.model, dumps, [scene for _, scene in prompts])
    one, other = (figures[method] for method in METHODS)
    gap = other["log_probability"] - one["log_probability"]
    figures["gap_in_standard_errors"] = round(gap / math.hypot(one["standard_error"], other["standard_error"]), 2)
    keep(f"lossless-{said.size}", figures)
    return figures


if __name__ == "__main__":
    main()
