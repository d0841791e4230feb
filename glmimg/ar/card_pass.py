"""One pass of the text layers for a card in half precision: few kernels, and one layer that is compiled for all.

A card reads the weights once a token, so what counts is how little it does beside that. Here queries, keys and values
come out of one product, a norm is one kernel, and attention is two products that fill the card, since a token has
too few key heads for a fused kernel to do so. It rounds otherwise than transformers' own pass, as every way does in
half precision; scores are rounded as by its eager attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from glmimg.ar.kv_cache import StaticKVCache
from glmimg.ar.layers import Rotary, apply_rotary
from glmimg.runtime.linear import joined

if TYPE_CHECKING:
    from transformers.models.glm_image.modeling_glm_image import (
        GlmImageForConditionalGeneration,
        GlmImageRMSNorm,
        GlmImageTextDecoderLayer,
    )


class CardPass:
    """Reads one written token of each row and says how the rows may go on.

    compiled: let the inductor compile a layer; the others have its code, as their weights are its arguments
    """

    def __init__(self, model: GlmImageForConditionalGeneration, *, compiled: bool) -> None:
        text_model = model.model.language_model
        self.embed, self.norm, self.head = text_model.embed_tokens.written, text_model.norm, model.lm_head
        self.layers = [CardLayer(layer) for layer in text_model.layers]
        if compiled:
            for layer in self.layers:
                layer.compile(fullgraph=True)

    def __call__(self, tokens: torch.Tensor, rotary: Rotary, kv_cache: StaticKVCache) -> torch.Tensor:
        """tokens: [rows, 1] int64. Returns the logits after each, [rows, 1, vocabulary]."""
        cos, sin = (table[:, 0] for table in rotary)
        mask = kv_cache.additive_mask()
        hidden = self.embed(tokens)[:, 0]
        for layer, store in zip(self.layers, kv_cache.stores, strict=True):
            hidden = layer(hidden, cos, sin, store, kv_cache.position, mask)
        return self.head(rms_norm(hidden, self.norm))[:, None]  # type: ignore[no-any-return]


class CardLayer(nn.Module):
    """A decoder layer for one token of each row.

    source: transformers, `GlmImageTextDecoderLayer.forward` and `GlmImageTextAttention.forward`
    """

    def __init__(self, layer: GlmImageTextDecoderLayer) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.norm_read, self.norm_attended = layer.input_layernorm, layer.post_self_attn_layernorm
        self.norm_narrow, self.norm_widened = layer.post_attention_layernorm, layer.post_mlp_layernorm
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        in_one = joined(projections)
        self.query_key_value = nn.ModuleList(projections if in_one is None else [in_one])
        self.output, self.gate_up, self.down = attention.o_proj, mlp.gate_up_proj, mlp.down_proj
        self.activation, self.scale, self.dim = mlp.activation_fn, attention.scaling, attention.head_dim
        self.heads = attention.config.num_attention_heads
        self.key_heads = attention.config.num_key_value_heads

    def forward(
        self,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        store: torch.Tensor,
        place: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Hidden states after the layer, [rows, width], from those before.

        cos, sin: [rows, 1, rotary dim], the first half of the sine negated
        store:    keys and values of the layer, [2, rows, key heads, capacity, dim]; takes those of this token
        place:    [1] int64, where they go
        mask:     [rows * key heads, heads per key head, capacity], added to the scores
        """
        rows, heads, key_heads = len(hidden), self.heads, self.key_heads
        read = rms_norm(hidden, self.norm_read)
        parts = [project(read) for project in self.query_key_value]
        states = (parts[0] if len(parts) == 1 else torch.cat(parts, -1)).view(rows, heads + 2 * key_heads, self.dim)
        apply_rotary(states[:, : heads + key_heads], (cos, sin))
        key_value = states[:, heads:].view(rows, 2, key_heads, self.dim)
        store.index_copy_(3, place, key_value.transpose(0, 1)[:, :, :, None])
        keys, values = store.flatten(1, 2).unbind(0)
        query = states[:, :heads].reshape(rows * key_heads, heads // key_heads, self.dim)
        scores = torch.add(mask, torch.bmm(query, keys.transpose(1, 2)), alpha=self.scale)
        gathered = torch.bmm(scores.softmax(-1), values).view(rows, heads * self.dim)
        hidden = hidden + rms_norm(self.output(gathered), self.norm_attended)
        gate, up = self.gate_up(rms_norm(hidden, self.norm_narrow)).chunk(2, dim=-1)
        return hidden + rms_norm(self.down(up * self.activation(gate)), self.norm_widened)


def rms_norm(hidden: torch.Tensor, norm: GlmImageRMSNorm) -> torch.Tensor:
    """RMS norm over the last dimension, the weight multiplied before rounding."""
    return functional.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)
