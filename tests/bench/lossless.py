"""Jacobi against one-by-one drawing on a trained model: pictures that have the very same tokens.

`python -m tests.bench.lossless [--model demo] [--pictures 200] [--size 256x256]`

The same held-out prompts with the same seeds, both ways, at the model's own sampling and at temperature 1 and 2
without a nucleus: its own leaves a trained model next to no choice, and where nothing is drawn nothing is compared.
Passes over many tokens round otherwise than passes over one, so a token in a million may be another one, and all
that follow it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.engine.complete import complete_sampling
from glmimg.events import unwatched
from glmimg.job import parse_size
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from glmimg.tokens.change import TokenWork
from tests.bench.processes import keep
from tests.demo.scorer import held_out_prompts
from tests.jobs import make_job

LAWS: dict[str, dict[str, float]] = {
    "own": {},
    "temperature 1": {"temperature": 1.0, "top_p": 1.0},
    "temperature 2": {"temperature": 2.0, "top_p": 1.0},
}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare the methods. Returns what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--size", default="256x256")
    said = parser.parse_args(arguments)
    checkpoint = resolve(said.model)
    height, width = parse_size(said.size)
    stage = ARStage(checkpoint, place(ModelChoice(model=said.model)), unwatched)
    prompts = [text for text, _ in held_out_prompts(said.pictures)]
    figures: dict[str, Any] = {"size": said.size, "model": checkpoint.fingerprint(), "pictures": len(prompts)}
    for name, law in LAWS.items():
        same = passes = tokens = 0
        for seed, text in enumerate(prompts):
            one, other = (
                stage.write(
                    [TokenWork(make_job(text, height=height, width=width, seed=seed, sampling=sampling))], unwatched
                )
                for sampling in (
                    complete_sampling({"seed": 0, "ar_method": method, **law}, checkpoint)
                    for method in ("sequential", "jacobi")
                )
            )
            same += one[0].grids == other[0].grids
            passes += other[0].stats.forward_passes
            tokens += other[0].stats.tokens
        figures[name] = {"same_tokens": same, "passes_a_token": round(passes / tokens, 3)}
    keep(f"lossless-{said.size}", figures)
    return figures


if __name__ == "__main__":
    main()
