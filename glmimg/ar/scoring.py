"""How likely a model holds tokens that are there already: one forward pass over prompt and grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from glmimg.ar.attention import unplanned_attention
from glmimg.ar.prompt import ARPrompt
from glmimg.runtime.finite import check_finite
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration

CHUNK = 256
"""Tokens whose logits exist at once; the vocabulary of all of them would be hundreds of megabytes."""

DIGITS = 4
"""Decimals kept: beyond them devices and precisions disagree."""


def score_grids(
    model: GlmImageForConditionalGeneration, prompt: ARPrompt, grids: Sequence[Grid], codebook_size: int
) -> list[Grid]:
    """The grids with each token's log-probability and the entropy of its choice, in nats.

    Both are of the model's distribution over the codes alone, before temperature, top-k and top-p:
    what sampling cuts off later does not hide that the model was unsure.
    prompt: the one the grids were written for
    """
    ids = torch.tensor([token for grid in grids for token in grid.flat()], device=model.device)
    text_model = model.model.language_model
    with unplanned_attention(model.device):
        hidden = text_model(
            input_ids=torch.cat([prompt.input_ids, ids[None, :-1]], dim=1),
            attention_mask=torch.nn.functional.pad(prompt.attention_mask, (0, len(ids) - 1), value=1),
            position_ids=torch.cat([prompt.prefill_positions, prompt.decode_positions[..., :-1]], dim=-1),
            use_cache=False,
        ).last_hidden_state[0, -len(ids) :]
    logprobs, entropies = [], []
    for start in range(0, len(ids), CHUNK):
        chunk = slice(start, start + CHUNK)
        logits = model.lm_head(hidden[chunk]).float()[:, :codebook_size]
        check_finite(logits, f"the logits of tokens {start + 1} to {start + len(logits)}")
        law = logits.log_softmax(-1)
        logprobs += law.gather(-1, ids[chunk, None])[:, 0].tolist()
        entropies += torch.special.entr(law.exp()).sum(-1).tolist()
    scored, start = [], 0
    for grid in grids:
        end = start + grid.shape.cells
        update = {
            "logprobs": _fold(logprobs[start:end], grid.width),
            "entropy": _fold(entropies[start:end], grid.width),
        }
        scored.append(grid.model_copy(update=update))
        start = end
    return scored


def _fold(values: Sequence[float], width: int) -> list[list[float]]:
    rounded = [round(value, DIGITS) + 0.0 for value in values]
    return [rounded[start : start + width] for start in range(0, len(rounded), width)]
