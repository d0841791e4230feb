"""One pass of the text layers over tokens already embedded: transformers' modules, our own way through them.

What `GlmImageTextModel.forward` does, without what a known length makes needless: no mask to build,
no output object, and a cache that attends by itself. On the CPU in fp32 every number is the one
transformers computes, whoever else is in the batch:

- `rms_norm` computes what `GlmImageRMSNorm` spells out in five operations;
- the rotary halves of queries and keys are turned together, the sign lying in the sine beforehand;
- a matrix product over several rows is rounded differently than over one, so rows are multiplied
  one by one, in one call (`one_by_one`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers.models.glm_image.modeling_glm_image import (
        GlmImageRMSNorm,
        GlmImageTextAttention,
        GlmImageTextDecoderLayer,
        GlmImageTextModel,
    )

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosine and signed sine, each [rows, tokens, 1, rotary dim]; see `rotary_tables`."""


class Attend(Protocol):
    """A key-value cache as the layers see it."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Take in keys and values, [rows, heads, tokens, dim]; return what the queries gather, same shape."""


def run_layers(text_model: GlmImageTextModel, tokens: torch.Tensor, rotary: Rotary, cache: Attend) -> torch.Tensor:
    """Read `tokens`, [rows, tokens] int64. Returns the last layer's normed states, [rows, tokens, width]."""
    hidden = text_model.embed_tokens(tokens)
    for number, layer in enumerate(text_model.layers):
        hidden = run_layer(layer, number, hidden, rotary, cache)
    return normalise(text_model.norm, hidden)


def run_layer(
    layer: GlmImageTextDecoderLayer, number: int, hidden: torch.Tensor, rotary: Rotary, cache: Attend
) -> torch.Tensor:
    """One decoder layer on [rows, tokens, width]. source: transformers, `GlmImageTextDecoderLayer.forward`."""
    attended = _attention(layer.self_attn, number, normalise(layer.input_layernorm, hidden), rotary, cache)
    hidden = hidden + normalise(layer.post_self_attn_layernorm, attended)
    gate, up = project(layer.mlp.gate_up_proj, normalise(layer.post_attention_layernorm, hidden)).chunk(2, dim=-1)
    widened = project(layer.mlp.down_proj, up * layer.mlp.activation_fn(gate))
    return hidden + normalise(layer.post_mlp_layernorm, widened)


def _attention(
    attention: GlmImageTextAttention, number: int, hidden: torch.Tensor, rotary: Rotary, cache: Attend
) -> torch.Tensor:
    rows, tokens, _ = hidden.shape
    shape = (rows, tokens, -1, attention.head_dim)
    query = project(attention.q_proj, hidden).view(shape)
    key = project(attention.k_proj, hidden).view(shape)
    value = project(attention.v_proj, hidden).view(shape)
    turned = rotate(torch.cat((query, key), dim=2), rotary).transpose(1, 2)
    heads = query.shape[2]
    query, key = turned[:, :heads], turned[:, heads:]
    gathered = cache.attend(number, query, key, value.transpose(1, 2), attention.scaling)
    return project(attention.o_proj, gathered.transpose(1, 2).reshape(rows, tokens, -1))


def rotary_tables(text_model: GlmImageTextModel, positions: torch.Tensor, like: torch.Tensor) -> Rotary:
    """Cosines and signed sines of position ids.

    positions: [3, rows, tokens]
    like:      any tensor of the dtype and device wanted
    returns:   [rows, tokens, 1, rotary dim] each, the first half of the sine negated, so that
               rotate_half(x) * sin = swap_halves(x) * signed sine, to the bit
    """
    cos, sin = text_model.rotary_emb(like, position_ids=positions)
    half = sin.shape[-1] // 2
    signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    return cos[:, :, None], signed[:, :, None]


def rotate(states: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Turn the rotary part of [rows, tokens, heads, dim]. source: transformers, `apply_rotary_pos_emb`."""
    cos, signed_sin = rotary
    dim = cos.shape[-1]
    part = states[..., :dim]
    turned = part * cos + part.roll(dim // 2, -1) * signed_sin
    return turned if dim == states.shape[-1] else torch.cat((turned, states[..., dim:]), dim=-1)


def normalise(norm: GlmImageRMSNorm, hidden: torch.Tensor) -> torch.Tensor:
    """RMS norm over the last dimension, rounded as the module rounds."""
    if hidden.dtype == torch.float32 == norm.weight.dtype and is_plain(norm):
        hidden = functional.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
    else:
        hidden = norm(hidden)
    return hidden


def project(module: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """A linear layer on [rows, tokens, width]; rows do not feel each other where that can be had."""
    if hidden.shape[0] > 1 and hidden.device.type == "cpu" and type(module) is nn.Linear and is_plain(module):
        return one_by_one(module, hidden)
    return module(hidden)  # type: ignore[no-any-return]


def is_plain(module: nn.Module) -> bool:
    """Whether a module's own weights may be used directly: not quantised, not fetched by a hook when called."""
    weight = module._parameters.get("weight")
    return "forward" not in vars(module) and (weight is None or type(weight) is nn.Parameter)


def one_by_one(module: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """A linear layer, each row multiplied as if it were alone, bit for bit.

    The rows of a batched product are products of their own; the weights are shared, not copied.
    """
    weight = module.weight.t().expand(hidden.shape[0], -1, -1)
    if module.bias is None:
        return torch.bmm(hidden, weight)
    return torch.baddbmm(module.bias, hidden, weight)
