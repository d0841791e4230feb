"""Source pictures as the DiT reads them: VAE latents, and the keys and values they leave in every block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from glmimg.dit.attention import rotary_of
from glmimg.dit.conditioning import embed_size, upsample_tokens
from glmimg.dit.denoise import embed_time
from glmimg.dit.parts import DecoderParts
from glmimg.dit.pixels import latent_statistics
from glmimg.sources.shelf import Key, SourceShelf, identity
from glmimg.tokens.dump import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKL
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache
    from PIL.Image import Image

CLEAN = 1
"""The scheduler's name for the model's timestep 0, at which sources are read: they hold no noise."""


class SourceReader:
    """Encodes each distinct source once with the VAE, and lets the DiT read the sources of a picture."""

    def __init__(self, parts: DecoderParts, shelf: SourceShelf) -> None:
        self.parts = parts
        self.shelf = shelf
        self._latents: dict[Key, torch.Tensor] = {}

    def encode(self, sources: Sequence[Source], dtype: torch.dtype) -> list[torch.Tensor]:
        """Latents of each source. Raises BadImage (exit 3) if a source's file is gone."""
        return [self._encode(source, dtype) for source in sources]

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
        rotary = rotary_of(dit, latents)
        prior = dit.prior_projector(dit.prior_token_embedding(upsample_tokens(source.grid).to(latents.device)))
        hidden = dit.image_projector(latents.to(dit.dtype)) + prior
        glyphs = dit.glyph_projector(latents.new_zeros(1, 0, dit.config.text_embed_dim))
        size = embed_size(dit, (source.height, source.width), latents)
        time = embed_time(dit, torch.tensor(float(CLEAN), device=latents.device), size)
        for layer, block in enumerate(dit.transformer_blocks):
            hidden, glyphs = block(hidden, glyphs, time, rotary, kv_cache=kv_cache[layer])

    def _encode(self, source: Source, dtype: torch.dtype) -> torch.Tensor:
        """Normalised latents of a source, [1, channels, height / 8, width / 8], the VAE's most likely ones."""
        key = identity(source.ref)
        if key not in self._latents:
            vae = self.parts.vae
            pixels = to_pixels(self.shelf.get(source.ref).image, vae)
            latents = vae.encode(pixels.to(vae.device, dtype)).latent_dist.mode()
            mean, deviation = latent_statistics(vae, latents)
            self._latents[key] = (latents - mean) / deviation
        return self._latents[key]


def to_pixels(image: Image, vae: AutoencoderKL) -> torch.Tensor:
    """An RGB picture as the VAE reads it: [1, 3, height, width], float32 in -1..1."""
    from diffusers.image_processor import VaeImageProcessor

    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    pixels: torch.Tensor = VaeImageProcessor(vae_scale_factor=scale).preprocess(
        image, height=image.height, width=image.width
    )
    return pixels
