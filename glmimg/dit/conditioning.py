"""The conditioning of a picture: everything that is the same at all denoising steps, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from glmimg.dit.attention import Rotary, rotary_of
from glmimg.text import quoted_texts
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from diffusers import GlmImageTransformer2DModel
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache, GlmImageLayerKVCache
    from transformers import ByT5Tokenizer, T5EncoderModel


MAX_BYTES = 2048
"""Longer quotations are cut (`max_sequence_length` of `GlmImagePipeline`)."""


@dataclass(frozen=True)
class Branch:
    """One side of classifier-free guidance.

    glyphs:  [1, glyph tokens, width], projected embeddings of the quoted words
    prior:   [1, patches, width], projected embeddings of the visual tokens
    sources: keys and values of the source pictures by block; None without sources
    """

    glyphs: torch.Tensor
    prior: torch.Tensor
    sources: GlmImageKVCache | None = None

    def sources_in(self, layer: int) -> GlmImageLayerKVCache | None:
        """Keys and values of the source pictures in one block."""
        return None if self.sources is None else self.sources[layer]


@dataclass(frozen=True)
class Conditioning:
    """Everything the DiT is conditioned on besides latents and time.

    branches: the conditional one, told tokens, quoted words and sources, and the unconditional one, told words to
              steer away from at most; the first alone when guidance is off
    size:     [1, time width], embedding of target size and crop
    rotary:   how the patches are rotated by their places
    """

    branches: tuple[Branch, ...]
    size: torch.Tensor
    rotary: Rotary


def prepare_conditioning(
    transformer: GlmImageTransformer2DModel,
    grid: Grid,
    glyphs: torch.Tensor,
    no_glyphs: torch.Tensor | None,
    latents: torch.Tensor,
    size_px: tuple[int, int],
    sources: GlmImageKVCache | None = None,
    dropped: Sequence[Sequence[bool]] | None = None,
) -> Conditioning:
    """Run the parts of the DiT that do not depend on the step.

    glyphs, no_glyphs: [1, tokens, glyph encoder width]; no_glyphs None turns guidance off
    latents:           [1, channels, height, width], for their shape, device and dtype
    size_px:           (height, width) of the picture
    sources:           what the DiT kept of the source pictures
    dropped:           rows of flags, one for each token: those cells get no prior even in the conditional branch
    """
    embedded = transformer.prior_token_embedding(upsample(grid.tokens).to(latents.device))
    prior = transformer.prior_projector(drop_prior(embedded, dropped))
    branches = [Branch(transformer.glyph_projector(glyphs), prior, sources)]
    if no_glyphs is not None:
        # Multiplied, not filled, by zero: negative zeros are part of what diffusers computes.
        no_prior = transformer.prior_projector(embedded * 0.0)
        branches.append(Branch(transformer.glyph_projector(no_glyphs), no_prior))
    return Conditioning(tuple(branches), embed_size(transformer, size_px, latents), rotary_of(transformer, latents))


def upsample(cells: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of d32 cells to DiT patches of 16x16 px, four for each cell: [1, 4 * cells]."""
    return torch.tensor(cells).repeat_interleave(2, dim=0).repeat_interleave(2, dim=1).reshape(1, -1)


def drop_prior(embedded: torch.Tensor, dropped: Sequence[Sequence[bool]] | None) -> torch.Tensor:
    """The prior embeddings without those of the dropped cells: [1, patches, width].

    source: diffusers, `GlmImageTransformer2DModel.forward` (`prior_token_drop`), there for whole pictures
    """
    if dropped is None:
        return embedded
    return torch.where(upsample(dropped).to(embedded.device)[..., None], embedded * 0.0, embedded)


def embed_size(transformer: GlmImageTransformer2DModel, size_px: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """The part of the conditioning that says how large the picture is: [1, time width].

    source: diffusers, `GlmImageCombinedTimestepSizeEmbeddings`; the crop starts at (0, 0)
    """
    embed = transformer.time_condition_embed
    target = embed.condition_proj(torch.tensor(size_px, dtype=like.dtype, device=like.device)).view(1, -1)
    crop = embed.condition_proj(torch.zeros(2, dtype=like.dtype, device=like.device)).view(1, -1)
    return embed.condition_embedder(torch.cat([crop, target], dim=1).to(like.dtype))  # type: ignore[no-any-return]


def embed_glyphs(prompt: str, tokenizer: ByT5Tokenizer, encoder: T5EncoderModel, dtype: torch.dtype) -> torch.Tensor:
    """Embeddings of the quoted texts of a prompt, one after the other; of the empty text if there are none.

    returns: [1, tokens, width of the encoder], in `dtype`
    source:  diffusers, `GlmImagePipeline._get_glyph_embeds`
    """
    ids = tokenizer(quoted_texts(prompt) or [""], max_length=MAX_BYTES, truncation=True).input_ids
    pad: int = tokenizer.pad_token_id
    # An even number of texts gets a leading pad each, an odd number none: diffusers counts the texts
    # where it seems to mean their bytes, and the same picture needs the same padding.
    ids = [[pad] * ((len(ids) + 1) % 2) + text for text in ids]
    longest = max(map(len, ids))
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in ids], device=encoder.device)
    padded = torch.tensor([text + [pad] * (longest - len(text)) for text in ids], device=encoder.device)
    hidden: torch.Tensor = encoder(padded, attention_mask=mask).last_hidden_state
    return hidden[mask.bool()].unsqueeze(0).to(dtype)
