"""How likely existing tokens are to the model: one forward pass over prompt and grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch

from glmimg.ar.decode_loop import read_prompt
from glmimg.ar.prompt import ARPrompt
from glmimg.runtime.finite import check_finite
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration

CHUNK = 256
"""Tokens whose logits are in memory at once; those of all tokens would be hundreds of megabytes."""

DIGITS = 4
"""Decimals kept; devices and precisions disagree beyond them."""


def score_grids(
    model: GlmImageForConditionalGeneration, prompt: ARPrompt, grids: Sequence[Grid], codebook_size: int
) -> list[Grid]:
    """The grids with each token's log-probability and the entropy of its choice, in nats.

    Both are of the model's distribution over the codes alone, before temperature, top-k and top-p:
    what sampling cuts off later does not hide that the model was unsure.
    prompt: the one the grids were written for
    """
    ids = torch.tensor([token for grid in grids for token in grid.flat()], device=model.device)
    hidden = read_prompt(model, prompt.followed_by(ids[:-1]))[0, -len(ids) :]
    logprobs, entropies = [], []
    for start in range(0, len(ids), CHUNK):
        chunk = slice(start, start + CHUNK)
        logits = model.lm_head(hidden[chunk]).float()[:, :codebook_size]
        check_finite(logits, f"the logits of tokens {start + 1} to {start + len(logits)}")
        law = logits.log_softmax(-1)
        logprobs += law.gather(-1, ids[chunk, None])[:, 0].tolist()
        entropies += torch.special.entr(law.exp()).sum(-1).tolist()
    values = {"logprobs": iter(logprobs), "entropy": iter(entropies)}
    return [grid.model_copy(update={name: _fold(each, grid) for name, each in values.items()}) for grid in grids]


def _fold(values: Iterator[float], grid: Grid) -> list[list[float]]:
    return [[round(value, DIGITS) + 0.0 for value in islice(values, grid.width)] for _ in range(grid.height)]
