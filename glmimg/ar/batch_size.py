"""How many jobs to draw at once: as many as pay, as far as their keys and values fit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration

MOST_ROWS = {"cpu": 32, "cuda": 32}
"""Rows beyond which a token costs hardly less; other devices count as the CPU does. On the demo 8, 16, 32, 64 rows
took 0.31, 0.27, 0.20, 0.18 of the time a picture takes alone."""

SHARE_OF_FREE_MEMORY = 0.5
"""The rest is for weights read meanwhile, activations and everybody else."""


def rows_that_fit(model: GlmImageForConditionalGeneration, length: int) -> int:
    """Rows of `length` tokens to draw at once on the model's device, at least 1."""
    most = MOST_ROWS.get(model.device.type, MOST_ROWS["cpu"])
    free = free_memory(model.device)
    if free is None:
        return most
    held = int(free * SHARE_OF_FREE_MEMORY) // bytes_of_row(model, length)
    return max(1, min(most, held))


def bytes_of_row(model: GlmImageForConditionalGeneration, length: int) -> int:
    """Keys and values of `length` tokens, and the copies of the logits that sampling makes."""
    config = model.config.text_config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * model.dtype.itemsize
    return int(length * per_token + 16 * 4 * config.vision_vocab_size)


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a device; None where it does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return None
