"""Attention of the DiT's blocks, over glyphs and patches together, for one row or for independent rows of a batch.

Projections and norms are diffusers'. Its own processor gives the same values bit for bit; this one rotates patches
without copying them, which is a good part of a block's time where matrices are small, and knows rows of unlike length.
The kernels are torch's own, or others that diffusers knows how to call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from glmimg.choice import NATIVE
from glmimg.runtime.linear import joined

if TYPE_CHECKING:
    from diffusers import GlmImageTransformer2DModel
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_glm_image import GlmImageLayerKVCache

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and signed sines of the patches' places, [patches, 1, head width] each, float32."""


class Row(NamedTuple):
    """A row of a batch: how many positions at its start are padding, and the keys and values of its source pictures."""

    padding: int
    sources: GlmImageLayerKVCache | None


def rotary_of(transformer: GlmImageTransformer2DModel, latents: torch.Tensor) -> Rotary:
    """Rotary tables for the patches of such latents. The first half of a head takes the second with a minus sign."""
    cos, sin = (table.to(latents.device)[:, None] for table in transformer.rope(latents))
    first, second = sin.chunk(2, dim=-1)
    return cos, torch.cat([-first, second], dim=-1)


@dataclass(frozen=True)
class Attend:
    """What a block of the DiT calls for attention; one does for all blocks.

    backend: whose kernels, as diffusers names them (`AttentionBackendName`)
    source:  diffusers, `GlmImageAttnProcessor`
    """

    backend: str = NATIVE

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: None,
        image_rotary_emb: Rotary,
        kv_cache: GlmImageLayerKVCache | tuple[Row, ...] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both states after attention, of the same shapes.

        hidden_states:         [rows, patches, width]
        encoder_hidden_states: [rows, glyph tokens, width]
        kv_cache:              keys and values of source pictures, to write or to read; or what each row is
        """
        glyphs = encoder_hidden_states.shape[1]
        joint = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        if attn.fused_projections:
            projected = attn.to_qkv(joint).chunk(3, dim=-1)
        else:
            projected = attn.to_q(joint), attn.to_k(joint), attn.to_v(joint)
        query, key, value = (each.unflatten(2, (attn.heads, -1)) for each in projected)
        query, key = attn.norm_q(query).to(joint.dtype), attn.norm_k(key).to(joint.dtype)
        for states in (query, key):
            apply_rotary(states[:, glyphs:], image_rotary_emb)
        if isinstance(kv_cache, tuple):
            rows = zip(query.split(1), key.split(1), value.split(1), kv_cache, strict=True)
            attended = torch.cat(
                [self._attend(q, k[:, row.padding :], v[:, row.padding :], row.sources) for q, k, v, row in rows]
            )
        else:
            attended = self._attend(query, key, value, kv_cache)
        text, patches = attn.to_out[0](attended).tensor_split([glyphs], dim=1)
        return patches, text

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sources: GlmImageLayerKVCache | None
    ) -> torch.Tensor:
        """[rows, places, heads, head width] each; returns [rows, places, width]."""
        if sources is not None and sources.mode == "write":
            sources.store(key, value)
        elif sources is not None and sources.mode == "read":
            key, value = sources.get(key, value)
        if self.backend != NATIVE:
            from diffusers.models.attention_dispatch import dispatch_attention_fn

            attended: torch.Tensor = dispatch_attention_fn(query, key, value, backend=self.backend)
            return attended.flatten(2, 3)
        attended = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return attended.transpose(1, 2).flatten(2, 3)


def join_projections(attn: Attention) -> None:
    """Let one product make queries, keys and values, which rounds otherwise; adapted or compressed ones stay apart.

    What diffusers' `fuse_projections` does, but nothing is held twice.
    """
    whole = joined((attn.to_q, attn.to_k, attn.to_v))
    if whole is not None:
        attn.to_qkv, attn.fused_projections = whole, True


def apply_rotary(patches: torch.Tensor, rotary: Rotary) -> None:
    """Rotate patches by their position, in place and in float32: [rows, patches, heads, head width].

    source: diffusers, `apply_rotary_emb`; (-x) * sin is x * (-sin) bit for bit
    """
    cos, sin = rotary
    rotated = patches.float()
    first, second = rotated.chunk(2, dim=-1)
    crossed = torch.cat([second, first], dim=-1).mul_(sin)
    rotated.mul_(cos).add_(crossed)
    if patches.dtype != torch.float32:  # else it is the same tensor
        patches.copy_(rotated)
