"""The AR decode loop: one prefill, then one forward pass a token, for a length known beforehand.

The layers are transformers'; the loop around them is ours. It never tests for end-of-image, since
the number of tokens is known, and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from transformers import DynamicCache

from glmimg.ar.prompt import ARPrompt

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration


class Sampler(Protocol):
    """Chooses the next token of each row, [rows, vocabulary] to [rows]."""

    def draw(self, logits: torch.Tensor) -> torch.Tensor: ...


def write_tokens(model: GlmImageForConditionalGeneration, prompt: ARPrompt, sampler: Sampler) -> Iterator[torch.Tensor]:
    """Yield the visual tokens of `prompt`, one [rows] int64 tensor at a time, `prompt.new_tokens` of them."""
    decoder = TextDecoder(model, prompt.decode_positions)
    token = sampler.draw(decoder.prefill(prompt))
    yield token
    for index in range(prompt.new_tokens - 1):
        token = sampler.draw(decoder.step(token, index))
        yield token


class TextDecoder:
    """The AR text model as two functions: prefill a prompt, then one token a step.

    decode_positions: [3, rows, tokens], position ids of every token to come
    """

    def __init__(self, model: GlmImageForConditionalGeneration, decode_positions: torch.Tensor) -> None:
        self.text_model = model.model.language_model
        self.lm_head = model.lm_head
        self.kv_cache = DynamicCache(config=self.text_model.config)
        like = torch.empty(0, dtype=model.dtype, device=model.device)
        self.cos, self.sin = self.text_model.rotary_emb(like, position_ids=decode_positions)

    def prefill(self, prompt: ARPrompt) -> torch.Tensor:
        """Read the prompt. Returns the logits of the first token, [rows, vocabulary]."""
        output = self.text_model(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask,
            position_ids=prompt.prefill_positions,
            past_key_values=self.kv_cache,
            use_cache=True,
        )
        return self._logits(output.last_hidden_state)

    def step(self, token: torch.Tensor, index: int) -> torch.Tensor:
        """Read written token number `index`, [rows]. Returns the logits of the next, [rows, vocabulary]."""
        hidden = self.text_model.embed_tokens(token[:, None])
        rotary = self.cos[:, index : index + 1], self.sin[:, index : index + 1]
        for layer in self.text_model.layers:
            hidden = layer(hidden, position_embeddings=rotary, past_key_values=self.kv_cache, use_cache=True)
        return self._logits(self.text_model.norm(hidden))

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.lm_head(hidden[:, -1:])
        return logits[:, -1]
