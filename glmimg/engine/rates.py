"""How fast the two stages are on a card, and how many workers of each are needed for a given rate.

A first guess from published figures of the card and of other people's runs; times measured here
replace it. Stage 1 reads all its weights for every token, so memory bandwidth decides; stage 2
computes, so arithmetic does.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import NamedTuple

from glmimg.errors import BadInput, UsageError
from glmimg.grid import preview_shape, target_shape
from glmimg.text import counted

AR_READ_BYTES = 16.5e9
"""What the AR half of GLM-Image reads for one token, in bf16 (8.91 B parameters less the embedding table)."""

DIT_PARAMETERS = 6.93e9
ATTENTION_FLOP = 10e12
"""A pass of the DiT at 1024x1024 takes 67 TFLOP: 2 a parameter and patch, the rest is attention."""

PATCHES_1024 = 4096

AR_EFFICIENCY = 0.33
"""Share of the bandwidth that is reached: vllm-omni draws 67 tokens/s on an H100, where 204 are possible (#3042)."""

DIT_EFFICIENCY = 0.46
"""Share of the arithmetic that is reached: vllm-omni takes 0.29 s a step of two passes on an H100 (#3042)."""

BATCH_COST = 0.02
"""What each further job of a batch adds to stage 1: 20.4 s alone, 33.2 s for 32 (sglang)."""


class Card(NamedTuple):
    """Data sheet of an accelerator. flops: dense bf16 per second; bandwidth: bytes per second; memory: bytes."""

    flops: float
    bandwidth: float
    memory: float


CARDS = {
    "B200": Card(2250e12, 8.0e12, 180e9),
    "H200": Card(989e12, 4.8e12, 141e9),
    "H100": Card(989e12, 3.35e12, 80e9),
    "A100": Card(312e12, 2.04e12, 80e9),
    "A800": Card(312e12, 2.04e12, 80e9),
    "L40S": Card(362e12, 0.864e12, 48e9),
    "L4": Card(121e12, 0.3e12, 24e9),
    "RTX 4090": Card(165e12, 1.008e12, 24e9),
    "RTX 3090": Card(71e12, 0.936e12, 24e9),
}


@dataclass(frozen=True)
class StageSeconds:
    """Seconds a picture of each stage, one worker; tokens is a job's share of a batch.

    source: where they come from, in words
    jobs:   they were measured over, 0 for a guess
    """

    tokens: float
    picture: float
    source: str = "guessed from the card's data sheet"
    jobs: int = 0


@dataclass(frozen=True)
class WorkerPlan:
    """Workers for a rate. pictures_per_hour is what they reach together, at least the wanted one."""

    ar_workers: int
    decoders: int
    pictures_per_hour: float
    seconds: StageSeconds


def guess_seconds(card: Card, height_px: int, width_px: int, *, steps: int, guided: bool, rows: int) -> StageSeconds:
    """Seconds a picture of GLM-Image on a card, `rows` jobs at once in stage 1. Raises SizeError (exit 2)."""
    target = target_shape(height_px, width_px)
    tokens = target.cells + preview_shape(target).cells + 1
    alone = tokens * AR_READ_BYTES / (card.bandwidth * AR_EFFICIENCY)
    patches = target.cells * 4
    flop = 2 * DIT_PARAMETERS * patches + ATTENTION_FLOP * (patches / PATCHES_1024) ** 2
    passes = steps * (2 if guided else 1)
    batched = alone * (1 + BATCH_COST * (rows - 1)) / rows
    return StageSeconds(batched, passes * flop / (card.flops * DIT_EFFICIENCY))


def read_seconds(place: str, size: str | None = None) -> StageSeconds:
    """Mean seconds a picture of an earlier batch, on the machine it was drawn on.

    place:  its folder or URI
    size:   the only one that counts, such as "1024x1024"; None counts all
    raises: BadInput (exit 3) if nothing was measured there; OutputError (exit 2) for a URI nobody can open
    """
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.ledger import Pace

    pace = Pace()
    for line in open_store(place, make=False).read_results():
        try:
            record = json.loads(line)
            if size in (None, record["size"]):
                pace.add(record["seconds"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    tokens, picture = pace.mean("tokens"), pace.mean("picture")
    if tokens is None or picture is None:
        pictures = f"pictures of {size}" if size else "pictures"
        raise BadInput(place, f"contains no measured times of {pictures}", "Draw a few there first with glmimg batch.")
    measured = f"measured over {counted(pace.jobs['picture'], 'picture')}"
    return StageSeconds(tokens, picture, measured, pace.jobs["picture"])


def plan_workers(pictures_per_hour: float, seconds: StageSeconds) -> WorkerPlan:
    """How many batched AR workers and decoders of batch 1 reach a rate: few of the first, many of the second."""
    ar_workers = max(1, math.ceil(pictures_per_hour * seconds.tokens / 3600))
    decoders = max(1, math.ceil(pictures_per_hour * seconds.picture / 3600))
    reached = 3600 * min(ar_workers / max(seconds.tokens, 1e-9), decoders / max(seconds.picture, 1e-9))
    return WorkerPlan(ar_workers, decoders, reached, seconds)


def find_card(name: str) -> Card:
    """A card by its name, or by one that holds it, such as "NVIDIA H100 80GB HBM3". Raises UsageError (exit 2)."""
    folded = name.upper().replace("-", " ")
    for known, card in CARDS.items():
        if known in folded or known.replace(" ", "") in folded.replace(" ", "") or known.split()[-1] == folded:
            return card
    raise UsageError(f"no figures are known for the card {name!r}", f"Known cards: {', '.join(CARDS)}.")
