"""What opt-in ways cost in quality: held-out prompts, scored by their pixels.

`python -m tests.bench.scores [MODEL] [PROMPTS] [WAY ...]`. Every prompt is drawn by glmimg with the default, then
by each way with the same seed. Ways of stage 2 paint the default's tokens; ways of stage 1 draw their own, which
the default paints. Needs the extras `torchao` and `bitsandbytes` for compressed weights.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL.Image import Image

from glmimg.ar.stage import ARStage
from glmimg.dit.stage import DiTStage
from glmimg.engine.complete import complete
from glmimg.events import Event
from glmimg.job import Job, parse_size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.runtime.resolve import resolve
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from tests.bench.passes import psnr, settings
from tests.bench.processes import keep
from tests.demo.scorer import held_out_prompts, score_prompts

SEED = 0
AR_WAYS = {"ar=int8": "int8", "ar=nf4": "nf4"}
DIT_WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "preset fast": ("none", {"preset": "fast"}),
    "preset draft": ("none", {"preset": "draft"}),
    "dit=int8": ("int8", {}),
    "dit=nf4": ("nf4", {}),
}


@dataclass(frozen=True)
class Drawn:
    """Pictures of one way, in the order of the prompts, and processor seconds a picture of the stage it changes."""

    pictures: list[Image]
    seconds: float


def unwatched(event: Event) -> None:
    """Nobody looks."""


def write(checkpoint: Checkpoint, placement: Placement, jobs: list[Job], way: str) -> tuple[list[TokenDump], int]:
    """A dump of each job, and the bytes of the weights that wrote them."""
    layout = Layout(quantize=way)
    with closing(ARStage(checkpoint, placement, unwatched, layout=layout, with_vision=False)) as stage:
        size = sum(map(bytes_of, stage.model.parameters()))
        batches = [jobs[start : start + 10] for start in range(0, len(jobs), 10)]
        return [dump for batch in batches for dump in stage.write([TokenWork(job) for job in batch], unwatched)], size


def bytes_of(weight: Any) -> int:
    """What a parameter takes, compressed or not."""
    if hasattr(weight, "qdata"):
        return sum(each.numel() * each.element_size() for each in (weight.qdata, weight.scale))
    state = getattr(weight, "quant_state", None)
    scales = state.absmax.numel() * state.absmax.element_size() if state is not None else 0
    return int(weight.numel() * weight.element_size() + scales)


def paint(
    checkpoint: Checkpoint, placement: Placement, dumps: Iterable[TokenDump], way: str, changes: dict[str, Any]
) -> Drawn:
    """The pictures of dumps."""
    pictures, seconds = [], []
    layout = Layout(quantize=way)
    with closing(DiTStage.load(checkpoint, placement, unwatched, layout=layout, with_encoder=False)) as stage:
        for dump in dumps:
            started = time.process_time()
            pictures.append(stage.paint(dump, settings({**changes, "dit_seed": SEED}, dump), unwatched))
            seconds.append(time.process_time() - started)
    return Drawn(pictures, statistics.median(seconds))


def fp32_bytes(checkpoint: Checkpoint, placement: Placement) -> int:
    """What the same weights take in full precision."""
    with closing(ARStage(checkpoint, placement, unwatched, with_vision=False)) as stage:
        return 4 * sum(weight.numel() for weight in stage.model.parameters())


def score(pictures: list[Image], prompts: list[Any]) -> dict[str, Any]:
    """Counts of right pictures."""
    by_prompt = dict(zip((text for text, _ in prompts), pictures, strict=True))
    return dict(score_prompts(by_prompt.__getitem__, prompts))


def distance(ours: list[Image], reference: list[Image]) -> dict[str, float]:
    """PSNR in dB between pictures pair by pair."""
    values = [
        psnr(np.asarray(one).astype(float), np.asarray(other).astype(float))
        for one, other in zip(ours, reference, strict=True)
    ]
    return {"psnr_db": round(statistics.mean(values), 1), "psnr_least_db": round(min(values), 1)}


def agreement(ours: list[TokenDump], reference: list[TokenDump]) -> float:
    """Share of target tokens that are the same."""
    pairs = [(one.target.flat(), other.target.flat()) for one, other in zip(ours, reference, strict=True)]
    return round(statistics.mean(float(a == b) for one, other in pairs for a, b in zip(one, other, strict=True)), 3)


def run(model: str, count: int, ways: list[str]) -> dict[str, Any]:
    """Scores and distances by way."""
    import torch

    checkpoint, placement = resolve(model), Placement(torch.device("cpu"), torch.float32)
    prompts = held_out_prompts(count)
    said = {"seed": SEED, "size": parse_size("256x256")}
    jobs = [complete({**said, "prompt": text}, checkpoint) for text, _ in prompts]
    dumps, size = write(checkpoint, placement, jobs, "none")
    default = paint(checkpoint, placement, dumps, "none", {})
    table: dict[str, Any] = {"default": {"scores": score(default.pictures, prompts), "ar_mb": round(size / 1e6, 2)}}
    _say("default", table)
    for name in [way for way in ways if way in DIT_WAYS]:
        drawn = paint(checkpoint, placement, dumps, *DIT_WAYS[name])
        table[name] = {
            "scores": score(drawn.pictures, prompts),
            "of_default": round(drawn.seconds / default.seconds, 3),
            **distance(drawn.pictures, default.pictures),
        }
        _say(name, table)
    full = fp32_bytes(checkpoint, placement)
    for name in [way for way in ways if way in AR_WAYS]:
        others, size = write(checkpoint, placement, jobs, AR_WAYS[name])
        drawn = paint(checkpoint, placement, others, "none", {})
        table[name] = {
            "scores": score(drawn.pictures, prompts),
            "weights_of_fp32": round(size / full, 3),
            "same_tokens": agreement(others, dumps),
        }
        _say(name, table)
    return table


def _say(name: str, table: dict[str, Any]) -> None:
    sys.stderr.write(f"{name:14} {table[name]}\n")


if __name__ == "__main__":
    model, count, *ways = [*sys.argv[1:], *("demo", "100")[len(sys.argv) - 1 :]]
    table = run(model, int(count), ways or [*DIT_WAYS, *AR_WAYS])
    keep("scores", {"model": model, "prompts": int(count), "ways": table})
