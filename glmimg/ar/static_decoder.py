"""A forward pass with a static shape for every token, so that it can be compiled or captured as a CUDA graph.

Prepared once for a number of rows and a length, then used again for every batch that fits. Tokens,
position and mask lie in buffers that stay where they are; a step changes their values only. On CUDA
the whole pass is captured and one replay draws a token, without the host's help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from glmimg.ar.card_pass import CardPass
from glmimg.ar.decode_loop import prefill
from glmimg.ar.kv_cache import StaticKVCache, rows_that_fit
from glmimg.ar.layers import EmbeddingRows, TextPass, decode_rotary
from glmimg.ar.prompt import ARPrompt
from glmimg.runtime.graph import capture
from glmimg.runtime.linear import is_plain
from glmimg.runtime.quantize import is_packed

if TYPE_CHECKING:
    from transformers import DynamicCache, GlmImageForConditionalGeneration

PREPARING = 4
"""Passes until one is captured, that one with them: each takes a place of the rotary tables."""

LENGTH_STEP = 64
"""Lengths are rounded up to a multiple of it, so that prompts of about one length share a shape."""


class StaticDecoder:
    """The AR text model for a batch of prompts, one token per step, with a static shape.

    compile: let the inductor compile the pass: in half precision on a card one layer for all, which takes seconds,
             else all of it, which takes a minute
    """

    first_logits: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor
    kv_cache: StaticKVCache

    def __init__(self, model: GlmImageForConditionalGeneration, *, compile: bool) -> None:
        self.model = model
        self.compile = compile
        in_half = model.device.type != "cpu" and model.dtype.itemsize == 2
        self.card_pass = CardPass(model, compiled=compile) if in_half else None
        self.prepared = (0, 0, 0)  # rows, capacity, new tokens

    def start(self, prompts: Sequence[ARPrompt], new_tokens: int, read: Sequence[DynamicCache] = ()) -> None:
        """Read the prompts of a batch; prepare the pass if its shape is new. read: as of `TextDecoder`"""
        self.first_logits, prefilled = prefill(self.model, prompts, read)
        positions = [prompt.decode_positions[..., :new_tokens] for prompt in prompts]
        # Preparing the pass runs it a few times, and a grid may have fewer tokens than that.
        spare = (0, 0, 0, 0, 0, max(0, PREPARING - new_tokens))
        cos, sin = (F.pad(table, spare).contiguous() for table in decode_rotary(self.model, positions))
        length = max(prompt.input_ids.shape[1] for prompt in prompts) + new_tokens
        rows, capacity, tokens = self.prepared
        if rows == len(prompts) and length <= capacity and new_tokens == tokens:
            self.cos.copy_(cos)
            self.sin.copy_(sin)
        else:
            self.cos, self.sin = cos, sin
            capacity = -(-length // LENGTH_STEP) * LENGTH_STEP
            self._prepare(prefilled[0], len(prompts), capacity)
            self.prepared = len(prompts), capacity, new_tokens
        self.kv_cache.fill(prefilled)
        self.index.fill_(prefilled[0].get_seq_length() - prompts[0].input_ids.shape[1])

    def step(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        """Read written token number `index`, [rows, 1]. Returns the logits of the next, [rows, 1, vocabulary]."""
        self.tokens.copy_(tokens)
        return self.forward()

    def rows_that_fit(self, length: int) -> int:
        """As of `kv_cache`; at least as many as are prepared, whose memory is there and whose capture is done."""
        rows, capacity, _ = self.prepared
        fit = rows_that_fit(self.model, length, self.kv_cache.nbytes if rows else 0)
        return max(fit, rows) if length <= capacity else fit

    def _prepare(self, like: DynamicCache, rows: int, capacity: int) -> None:
        self.prepared = (0, 0, 0)
        for name in ("forward", "kv_cache"):  # what was prepared before makes room
            vars(self).pop(name, None)
        device, config = self.model.device, self.model.config.text_config
        share = config.num_attention_heads // config.num_key_value_heads
        self.kv_cache = StaticKVCache(like, rows, capacity, share)
        self.tokens = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self.index = torch.zeros(1, dtype=torch.int64, device=device)
        self.forward: Callable[[], torch.Tensor] = self._forward
        if self.card_pass is None:
            self.text_pass = TextPass(self.model, rows, compiled=self.compile)
            if self.compile:
                self.forward = torch.compile(self._forward, fullgraph=True)
        if device.type == "cuda":
            self.forward = capture(self.forward, device, warm_ups=PREPARING - 1)

    def _forward(self) -> torch.Tensor:
        """One token, read from and written to buffers: nothing in it depends on how far writing has come."""
        rotary = self.cos.index_select(1, self.index), self.sin.index_select(1, self.index)
        if self.card_pass is not None:
            logits = self.card_pass(self.tokens, rotary, self.kv_cache)
        else:
            logits = self.text_pass(self.tokens, rotary, self.kv_cache.open())
        self.kv_cache.position.add_(1)
        self.index += 1
        return logits


def can_be_static(model: GlmImageForConditionalGeneration) -> bool:
    """Whether all of the text model is modules that compute by themselves on one device: none is fetched when needed.

    The table of words lies on the host, but a written token is looked up among the visual rows on the device.
    """
    text_model = model.model.language_model
    plain = all(_is_known(module) and (is_plain(module) or is_packed(module)) for module in text_model.modules())
    return plain and all(weight.device == model.device for weight in text_model.parameters())


def _is_known(module: torch.nn.Module) -> bool:
    """Whether a module computes with nothing but its own weights: a library's, or our own embedding."""
    return isinstance(module, EmbeddingRows) or type(module).__module__.startswith(("torch.nn.", "transformers."))
