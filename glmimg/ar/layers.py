"""One pass of the text layers over written tokens: transformers' modules, our own way through them.

What `GlmImageTextModel.forward` does, without what a known length makes needless: no mask to build,
no output object, a cache that attends by itself, and modules taken apart once for all tokens, since at
a token a pass calling a module costs as much as a small product. On the CPU in fp32 every number is
the one transformers computes, whoever else is in the batch:

- `functional.rms_norm` computes what `GlmImageRMSNorm` spells out in five operations;
- the rotary halves of queries and keys are turned together, the sign lying in the sine beforehand;
- a matrix product over several rows is rounded differently than over one, so rows are multiplied
  one by one, in one call (`one_by_one`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers.models.glm_image.modeling_glm_image import (
        GlmImageForConditionalGeneration,
        GlmImageRMSNorm,
        GlmImageTextDecoderLayer,
        GlmImageTextModel,
    )

Map = Callable[[torch.Tensor], torch.Tensor]

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosine and signed sine, each [rows, tokens, 1, rotary dim]; see `rotary_tables`."""


class Attend(Protocol):
    """A key-value cache as the layers see it."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Take in keys and values, [rows, heads, tokens, dim]; return what the queries gather, same shape."""


class TextPass:
    """Reads written tokens and says how each may go on.

    The layers are taken apart once, or again at every pass where they come and go (streamed ones).
    rows: of the batch
    """

    def __init__(self, model: GlmImageForConditionalGeneration, rows: int) -> None:
        text_model = model.model.language_model
        self.rows = rows
        self.layers = text_model.layers
        self.embed = text_model.embed_tokens
        self.norm = normaliser(text_model.norm)
        self.head = projector(model.lm_head, rows)
        self.parts = list(self._take_apart()) if type(self.layers) is nn.ModuleList else None

    def __call__(self, tokens: torch.Tensor, rotary: Rotary, cache: Attend) -> torch.Tensor:
        """tokens: [rows, tokens] int64. Returns the logits after each, [rows, tokens, vocabulary]."""
        hidden = self.embed(tokens)
        for number, layer in enumerate(self.parts or self._take_apart()):
            hidden = run_layer(layer, number, hidden, rotary, cache)
        return self.head(self.norm(hidden))

    def _take_apart(self) -> Iterable[Layer]:
        return (Layer.of(layer, self.rows) for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Layer:
    """What a decoder layer is made of, ready to be called."""

    norm_read: Map
    query: Map
    key: Map
    value: Map
    output: Map
    norm_attended: Map
    norm_narrow: Map
    gate_up: Map
    activation: Map
    down: Map
    norm_widened: Map
    head_dim: int
    scale: float

    @classmethod
    def of(cls, layer: GlmImageTextDecoderLayer, rows: int) -> Layer:
        """Take a layer apart for batches of so many rows. It has to have its weights."""
        attention, mlp = layer.self_attn, layer.mlp
        return cls(
            norm_read=normaliser(layer.input_layernorm),
            query=projector(attention.q_proj, rows),
            key=projector(attention.k_proj, rows),
            value=projector(attention.v_proj, rows),
            output=projector(attention.o_proj, rows),
            norm_attended=normaliser(layer.post_self_attn_layernorm),
            norm_narrow=normaliser(layer.post_attention_layernorm),
            gate_up=projector(mlp.gate_up_proj, rows),
            activation=mlp.activation_fn,
            down=projector(mlp.down_proj, rows),
            norm_widened=normaliser(layer.post_mlp_layernorm),
            head_dim=attention.head_dim,
            scale=attention.scaling,
        )


def run_layer(layer: Layer, number: int, hidden: torch.Tensor, rotary: Rotary, cache: Attend) -> torch.Tensor:
    """One decoder layer on [rows, tokens, width]. source: transformers, `GlmImageTextDecoderLayer.forward`."""
    hidden = hidden + layer.norm_attended(_attention(layer, number, layer.norm_read(hidden), rotary, cache))
    gate, up = layer.gate_up(layer.norm_narrow(hidden)).chunk(2, dim=-1)
    return hidden + layer.norm_widened(layer.down(up * layer.activation(gate)))


def _attention(layer: Layer, number: int, hidden: torch.Tensor, rotary: Rotary, cache: Attend) -> torch.Tensor:
    rows, tokens, _ = hidden.shape
    shape = (rows, tokens, -1, layer.head_dim)
    query, key, value = layer.query(hidden).view(shape), layer.key(hidden).view(shape), layer.value(hidden).view(shape)
    turned = rotate(torch.cat((query, key), dim=2), rotary).transpose(1, 2)
    heads = query.shape[2]
    query, key = turned[:, :heads], turned[:, heads:]
    gathered = cache.attend(number, query, key, value.transpose(1, 2), layer.scale)
    return layer.output(gathered.transpose(1, 2).reshape(rows, tokens, -1))


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
    if dim < states.shape[-1]:
        return torch.cat((rotate(states[..., :dim], rotary), states[..., dim:]), dim=-1)
    return states * cos + states.roll(dim // 2, -1) * signed_sin


def normaliser(norm: GlmImageRMSNorm) -> Map:
    """RMS norm over the last dimension, rounded as the module rounds."""
    weight = norm.weight
    if weight.dtype == torch.float32 and is_plain(norm):
        return partial(functional.rms_norm, normalized_shape=weight.shape, weight=weight, eps=norm.variance_epsilon)
    return norm  # type: ignore[no-any-return]


def projector(module: nn.Module, rows: int) -> Map:
    """A linear layer on [rows, tokens, width]; rows do not feel each other where that can be had."""
    if type(module) is not nn.Linear or not is_plain(module):
        return module
    alone = rows == 1 or module.weight.device.type != "cpu"
    return partial(functional.linear if alone else one_by_one, weight=module.weight, bias=module.bias)


def is_plain(module: nn.Module) -> bool:
    """Whether a module's own weights may be used directly: not quantised, not fetched by a hook when called."""
    weight = module._parameters.get("weight")
    return "forward" not in vars(module) and (weight is None or type(weight) is nn.Parameter)


def one_by_one(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A linear layer, each row multiplied as if it were alone, bit for bit.

    The rows of a batched product are products of their own; the weights are shared, not copied.
    """
    shared = weight.t().expand(hidden.shape[0], -1, -1)
    return torch.bmm(hidden, shared) if bias is None else torch.baddbmm(bias, hidden, shared)
