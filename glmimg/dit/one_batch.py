"""Both branches of guidance as two rows of one batch: each block runs once a step instead of twice.

Linear layers take both rows at once. Attention stays apart: a row attends to its own glyphs and its own
source pictures alone, so rows of unlike length need no mask (which would rule out the fastest kernels).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from glmimg.dit.conditioning import Branch
from glmimg.dit.denoise import Rotary, State, Walk, walk_side_by_side

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_glm_image import GlmImageLayerKVCache


@dataclass(frozen=True)
class Row:
    """What a row of the batch attends to besides its patches.

    padding: places at the start that are nobody's
    sources: keys and values of its source pictures in this block; None without sources
    """

    padding: int
    sources: GlmImageLayerKVCache | None


def walk_in_one_batch(blocks: Iterable[Any]) -> Walk:
    """Two branches as one batch; a branch alone goes the default way."""
    alone = walk_side_by_side(blocks)

    def walk(
        states: Sequence[State], branches: Sequence[Branch], time: torch.Tensor, rotary: Rotary
    ) -> Sequence[State]:
        if len(branches) == 1:
            return alone(states, branches, time, rotary)
        longest = max(glyphs.shape[1] for _, glyphs in states)
        paddings = [longest - glyphs.shape[1] for _, glyphs in states]
        hidden = torch.cat([each for each, _ in states])
        joint = torch.cat([F.pad(each, (0, 0, pad, 0)) for (_, each), pad in zip(states, paddings, strict=True)])
        for layer, block in enumerate(blocks):
            rows = tuple(
                Row(padding, None if branch.sources is None else branch.sources[layer])
                for padding, branch in zip(paddings, branches, strict=True)
            )
            with _attending_apart(block):
                hidden, joint = block(hidden, joint, time, rotary, kv_cache=rows)
        return [(hidden[row : row + 1], joint[row : row + 1, padding:]) for row, padding in enumerate(paddings)]

    return walk


@contextmanager
def _attending_apart(block: Any) -> Iterator[None]:
    before = block.attn1.processor
    block.attn1.processor = ATTEND_APART
    try:
        yield
    finally:
        block.attn1.processor = before


class AttendApart:
    """Attention as a block of the DiT calls it, each row on its own.

    source: diffusers, `GlmImageAttnProcessor` (projections, norms and rotation are its own)
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: None,
        image_rotary_emb: Rotary,
        kv_cache: Sequence[Row],
    ) -> State:
        """Both states after attention, of the same shapes.

        hidden_states:         [rows, patches, width]
        encoder_hidden_states: [rows, glyph tokens, width], padded at the start
        kv_cache:              what each row is; the blocks hand it through
        """
        glyphs = encoder_hidden_states.shape[1]
        joint = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query, key, value = (
            project(joint).unflatten(2, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = _turn(attn.norm_q(query).to(joint.dtype), glyphs, image_rotary_emb)
        key = _turn(attn.norm_k(key).to(joint.dtype), glyphs, image_rotary_emb)
        attended = [
            _attend(query[number : number + 1], key[number : number + 1], value[number : number + 1], row)
            for number, row in enumerate(kv_cache)
        ]
        text, patches = attn.to_out[0](torch.cat(attended)).tensor_split([glyphs], dim=1)
        return patches, text


ATTEND_APART = AttendApart()
"""One for all blocks: it holds nothing, and compiled blocks know it again."""


def _turn(states: torch.Tensor, glyphs: int, rotary: Rotary) -> torch.Tensor:
    """[rows, places, heads, head width] with the patches, which follow the glyphs, turned by where they are."""
    from diffusers.models.embeddings import apply_rotary_emb

    text, patches = states.tensor_split([glyphs], dim=1)
    turned = apply_rotary_emb(patches, rotary, sequence_dim=1, use_real_unbind_dim=-2)
    return torch.cat([text, turned], dim=1)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row: Row) -> torch.Tensor:
    """One row, [1, places, heads, head width] each; returns [1, places, width]."""
    key, value = key[:, row.padding :], value[:, row.padding :]
    if row.sources is not None:
        key, value = row.sources.get(key, value)
    attended = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return attended.transpose(1, 2).flatten(2, 3)
