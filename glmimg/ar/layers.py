"""One pass of the text layers over written tokens: transformers' modules, our own way through them.

What `GlmImageTextModel.forward` does, without what a known length makes needless: no mask to build,
no output object, a cache that attends by itself, and modules taken apart once for all tokens, since at
a token a pass calling a module costs as much as a small product. On the CPU in fp32 every number is
the one transformers computes, whoever else is in the batch:

- the mean of squares is divided and its epsilon added in one operation, which rounds at the same points;
- queries, keys and values of small models come out of one product, where a probe shows that it rounds as three;
- the rotary halves of queries and keys are rotated together and in place, the sign lying in the sine beforehand;
- a product over several rows rounds otherwise than over one, so rows are multiplied one by one, in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from glmimg.ar.kv_cache import Attend
from glmimg.runtime.device import Placement
from glmimg.runtime.linear import is_plain

if TYPE_CHECKING:
    from transformers.models.glm_image.modeling_glm_image import (
        GlmImageForConditionalGeneration,
        GlmImageRMSNorm,
        GlmImageTextDecoderLayer,
    )

Map = Callable[[torch.Tensor], torch.Tensor]

Product = Callable[[torch.Tensor, torch.Tensor | None], Map]
"""Makes a linear layer of a weight and a bias."""

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosine and signed sine, each [rows, tokens, 1, rotary dim]; see `decode_rotary`."""

RunLayer = Callable[[torch.Tensor, int, Rotary, Attend], torch.Tensor]
"""Runs the layer of a number over hidden states, [rows, tokens, width], or [tokens, width] of one row."""

SMALL = 1 << 20
"""Weights of a product that takes about as long as calling it does; larger ones are not copied to be fused."""

MEDIUM = 1 << 24
"""Weights of a product that compiled code multiplies itself, from a copy of half the size if that is exact."""


class EmbeddingRows(nn.Module):
    """Looks ids up in two tables: visual rows on the device, all rows, mostly words, in the checkpoint's file.

    Rows stay in the file's precision where that is the narrower one, and widen as they are looked up, which
    changes no value.
    table:  [vocabulary, width], mapped from its file; only rows that are asked for are read
    visual: ids below this number are what the model itself writes
    """

    def __init__(self, table: torch.Tensor, visual: int, placement: Placement) -> None:
        super().__init__()
        self.table = table
        self.placement = placement
        narrower = table.dtype if table.dtype.itemsize < placement.dtype.itemsize else placement.dtype
        rows = table[:visual].to(placement.device, narrower)
        self.visual = nn.Parameter(rows, requires_grad=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of a prompt, [rows, length], or of written tokens, [rows, 1]: [..., width].

        A single id a row is a written token, hence visual; looking at its value would stall the device.
        """
        if ids.shape[-1] == 1:
            return self.written(ids)
        words = functional.embedding(ids.cpu(), self.table)
        return words.to(self.placement.device, self.placement.dtype)

    def written(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of written tokens, however many a row: [rows, count, width]. Nothing goes to the host."""
        return functional.embedding(ids, self.visual).to(self.placement.dtype)


class TextPass:
    """Reads written tokens and says how each may go on.

    The layers are taken apart once, or again at every pass where they come and go (streamed ones).
    rows:     of the batch, each multiplied as if it were alone; 1 if they may be multiplied together
    compiled: whether the pass will be compiled
    """

    def __init__(self, model: GlmImageForConditionalGeneration, rows: int, *, compiled: bool = False) -> None:
        text_model = model.model.language_model
        self.rows = rows
        self.product: Product = generated_product if compiled and rows == 1 else partial(called_product, rows=rows)
        self.layers = text_model.layers
        self.embed = text_model.embed_tokens.written
        self.norm = normaliser(text_model.norm)
        self.head = projector(model.lm_head, self.product)
        self.stay = type(self.layers) is nn.ModuleList
        self.parts = list(self._take_apart()) if self.stay else None

    def __call__(self, tokens: torch.Tensor, rotary: Rotary, attend: Attend) -> torch.Tensor:
        """tokens: [rows, tokens] int64. Returns the logits after each, [rows, tokens, vocabulary]."""
        hidden = self.embed(tokens)
        if len(tokens) == 1:  # a product of two matrices is called with less ado than one of batches
            hidden = hidden[0]
        number = 0
        for run_layer in self.parts or self._take_apart():
            hidden = run_layer(hidden, number, rotary, attend)
            number += 1  # noqa: SIM113
            del run_layer  # nor held by `enumerate`: a streamed layer leaves before the next one comes
        logits = self.head(self.norm(hidden))
        return logits[None] if len(tokens) == 1 else logits

    def _take_apart(self) -> Iterable[RunLayer]:
        return (taken_apart(layer, self.rows, self.product, fuse=self.stay) for layer in self.layers)


def taken_apart(layer: GlmImageTextDecoderLayer, rows: int, product: Product, *, fuse: bool) -> RunLayer:
    """A decoder layer for batches of so many rows, its parts ready to be called. It has to have its weights.

    fuse:   whether it will serve many passes, so that products are worth joining
    source: transformers, `GlmImageTextDecoderLayer.forward` and `GlmImageTextAttention.forward`
    """
    attention, mlp = layer.self_attn, layer.mlp
    norm_read, norm_attended = normaliser(layer.input_layernorm), normaliser(layer.post_self_attn_layernorm)
    norm_narrow, norm_widened = normaliser(layer.post_attention_layernorm), normaliser(layer.post_mlp_layernorm)
    query_key_value = side_by_side((attention.q_proj, attention.k_proj, attention.v_proj), rows, product, fuse=fuse)
    output, gate_up, down = (projector(each, product) for each in (attention.o_proj, mlp.gate_up_proj, mlp.down_proj))
    activation, scale, dim = mlp.activation_fn, attention.scaling, attention.head_dim
    heads, key_heads = attention.config.num_attention_heads, attention.config.num_key_value_heads

    def run_layer(hidden: torch.Tensor, number: int, rotary: Rotary, attend: Attend) -> torch.Tensor:
        count = 1 if hidden.ndim == 2 else len(hidden)
        states = query_key_value(norm_read(hidden)).view(count, -1, heads + 2 * key_heads, dim)
        apply_rotary(states[:, :, : heads + key_heads], rotary)
        query, key_value = states.split_with_sizes((heads, 2 * key_heads), dim=2)
        gathered = attend(number, query.transpose(1, 2), key_value.view(count, -1, 2, key_heads, dim), scale)
        gathered = gathered.transpose(1, 2).reshape(*hidden.shape[:-1], heads * dim)
        hidden = hidden + norm_attended(output(gathered))
        gate, up = gate_up(norm_narrow(hidden)).chunk(2, dim=-1)
        return hidden + norm_widened(down(up * activation(gate)))

    return run_layer


def decode_rotary(model: GlmImageForConditionalGeneration, positions: Sequence[torch.Tensor]) -> Rotary:
    """Rotary tables of every token to come, [rows, tokens, 1, rotary dim] each.

    The first half of the sine is negated, so that rotate_half(x) * sin = swap_halves(x) * signed sine, to the bit.
    positions: of each row, [3, 1, tokens]
    """
    like = torch.empty(0, dtype=model.dtype, device=model.device)
    cos, sin = model.model.language_model.rotary_emb(like, position_ids=torch.cat(list(positions), dim=1))
    first, second = sin.chunk(2, dim=-1)
    return cos[:, :, None], torch.cat((-first, second), dim=-1)[:, :, None]


def apply_rotary(states: torch.Tensor, rotary: Rotary) -> None:
    """Rotate the rotary part of [rows, tokens, heads, dim] in place. source: transformers, `apply_rotary_pos_emb`."""
    cos, signed_sin = rotary
    dim = cos.shape[-1]
    if dim < states.shape[-1]:
        states = states[..., :dim]
    swapped = states.roll(dim // 2, -1).mul_(signed_sin)
    states.mul_(cos).add_(swapped)


def normaliser(norm: GlmImageRMSNorm) -> Map:
    """RMS norm over the last dimension, rounded as the module rounds."""
    weight = norm.weight
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or not is_plain(norm):
        return norm  # type: ignore[no-any-return]
    epsilon, width = torch.tensor(norm.variance_epsilon), torch.tensor(float(weight.numel()))
    return partial(rms_norm, weight=weight, epsilon=epsilon, width=width)


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """What `functional.rms_norm` computes, in fewer steps than it takes on the CPU. epsilon, width: []"""
    mean_and_epsilon = torch.addcdiv(epsilon, (hidden * hidden).sum(-1, keepdim=True), width)
    return (hidden * mean_and_epsilon.rsqrt_()).mul_(weight)


def projector(module: nn.Module, product: Product) -> Map:
    """A linear layer on [rows, tokens, width]; rows do not feel each other where that can be had."""
    if type(module) is not nn.Linear or not is_plain(module):
        return module
    return product(module.weight, module.bias)


def side_by_side(modules: Sequence[nn.Module], rows: int, product: Product, *, fuse: bool) -> Map:
    """Linear layers of one input, outputs side by side: by one product if asked, small, and rounded the same."""
    maps = [projector(module, product) for module in modules]

    def one_after_the_other(hidden: torch.Tensor) -> torch.Tensor:
        return torch.cat([each(hidden) for each in maps], dim=-1)

    plain = [module for module in modules if type(module) is nn.Linear and is_plain(module)]
    weights: list[torch.Tensor] = [module.weight for module in plain]
    biases: list[torch.Tensor] = [module.bias for module in plain if module.bias is not None]
    small = sum(weight.numel() for weight in weights) <= SMALL and all(each.device.type == "cpu" for each in weights)
    if not fuse or not small or len(plain) < len(modules) or len(biases) not in (0, len(plain)):
        return one_after_the_other
    at_once = product(torch.cat(weights), torch.cat(biases) if biases else None)
    probe = torch.arange(rows * plain[0].in_features, dtype=weights[0].dtype).sin_().view(rows, 1, -1)
    return at_once if torch.equal(at_once(probe), one_after_the_other(probe)) else one_after_the_other


def called_product(weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> Map:
    """A linear layer by its weights, each row multiplied as if it were alone on the CPU, bit for bit.

    The rows of a batched product are products of their own; the weights are shared, not copied.
    """
    if rows == 1 or weight.device.type != "cpu":
        return partial(functional.linear, weight=weight, bias=bias)
    shared = weight.t().expand(rows, -1, -1)
    return partial(torch.bmm, mat2=shared) if bias is None else partial(torch.baddbmm, bias, batch2=shared)


def generated_product(weight: torch.Tensor, bias: torch.Tensor | None) -> Map:
    """A linear layer spelt out for the compiler, for one row on the CPU, where reading the weights takes the time.

    Weights that were bfloat16 in their file are so again, which loses nothing and halves what is read.
    """
    if weight.device.type != "cpu" or weight.numel() > MEDIUM:
        return called_product(weight, bias, 1)
    narrow = weight.bfloat16()
    return partial(_multiply, weight=narrow if torch.equal(narrow.to(weight.dtype), weight) else weight, bias=bias)


def _multiply(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product = (hidden[..., None, :] * weight.to(hidden.dtype)).sum(-1)
    return product if bias is None else product + bias
