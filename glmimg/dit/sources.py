"""Source pictures for the DiT: their VAE latents, and their keys and values in every block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from glmimg.dit.attention import rotary_of
from glmimg.dit.blocks import Pass, plain_runner
from glmimg.dit.conditioning import Branch, embed_size, upsample
from glmimg.dit.denoise import embed_time
from glmimg.dit.parts import DecoderParts
from glmimg.dit.vae import encode_image
from glmimg.sources.shelf import CAPACITY, Key, SourceShelf, identity
from glmimg.tokens.dump import Source

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache


class SourceReader:
    """Encodes each distinct source once with the VAE, and lets the DiT read the sources of a picture."""

    def __init__(self, parts: DecoderParts, shelf: SourceShelf) -> None:
        self.parts = parts
        self.shelf = shelf
        self._latents: dict[Key, torch.Tensor] = {}

    def encode(self, sources: Sequence[Source]) -> list[torch.Tensor]:
        """Latents of each source. Raises BadImage (exit 3) if a source's file is gone."""
        encoded = []
        for source in sources:
            if (key := identity(source)) not in self._latents:
                image = self.shelf.get(source).image
                self._latents[key] = encode_image(self.parts.vae, image, self.parts.placement.dtype)
            encoded.append(self._latents[key])
            if len(self._latents) > CAPACITY:
                del self._latents[next(iter(self._latents))]
        return encoded

    def read(self, sources: Sequence[Source], encoded: Sequence[torch.Tensor]) -> GlmImageKVCache | None:
        """Run each source through the DiT once; every conditional step then attends to what it left.

        encoded: what `encode` made of the sources
        returns: keys and values of all sources, ready to be read; None if there are no sources
        source:  diffusers, `GlmImagePipeline.__call__`
        """
        if not sources:
            return None
        from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache

        kv_cache = GlmImageKVCache(num_layers=len(self.parts.transformer.transformer_blocks))
        kv_cache.set_mode("write")
        for source, latents in zip(sources, encoded, strict=True):
            self._write(kv_cache, source, latents)
        kv_cache.set_mode("read")
        return kv_cache

    def _write(self, kv_cache: GlmImageKVCache, source: Source, latents: torch.Tensor) -> None:
        dit = self.parts.transformer
        prior = dit.prior_projector(dit.prior_token_embedding(upsample(source.grid.tokens).to(latents.device)))
        branch = Branch(dit.glyph_projector(latents.new_zeros(1, 0, dit.config.text_embed_dim)), prior, kv_cache)
        state = dit.image_projector(latents.to(dit.dtype)) + prior, branch.glyphs
        size = embed_size(dit, (source.height, source.width), latents)
        clean = torch.tensor(1.0, device=latents.device)  # the scheduler's name for the model's timestep 0: no noise
        time = embed_time(dit, clean, size)
        plain_runner(dit.transformer_blocks)(Pass([state], [branch], time, rotary_of(dit, latents)))
