"""Stage 2: loaded once, paints a picture from each dump, frees its memory when closed."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from glmimg.dit.conditioning import prepare_conditioning
from glmimg.dit.denoise import denoise
from glmimg.dit.glyph import embed_glyphs
from glmimg.dit.pixels import decode_latents
from glmimg.dit.schedule import set_timesteps
from glmimg.dit.sources import SourceReader
from glmimg.events import Loading, StepDone, Watch
from glmimg.job import PaintSettings
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.load import load_part
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel
    from PIL.Image import Image
    from transformers import ByT5Tokenizer, T5EncoderModel


@dataclass
class DecoderParts:
    """The modules stage 2 is made of."""

    tokenizer: ByT5Tokenizer
    text_encoder: T5EncoderModel
    transformer: GlmImageTransformer2DModel
    scheduler: FlowMatchEulerDiscreteScheduler
    vae: AutoencoderKL


class DiTStage:
    """The decoding half of a checkpoint, ready to paint dumps."""

    def __init__(self, parts: DecoderParts, placement: Placement, shelf: SourceShelf | None = None) -> None:
        self.parts = parts
        self.placement = placement
        self.sources = SourceReader(parts.vae, parts.transformer, shelf or SourceShelf())

    @classmethod
    def load(cls, checkpoint: Checkpoint, placement: Placement, watch: Watch, shelf: SourceShelf | None = None) -> Self:
        """Load glyph encoder, DiT and VAE; `shelf` is where the sources of edits are.

        raises: ModelUnfit (exit 4), OutOfMemory (exit 5)
        """
        from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel
        from transformers import ByT5Tokenizer, T5EncoderModel

        watch(Loading("decoder"))
        parts = DecoderParts(
            tokenizer=load_part(ByT5Tokenizer, checkpoint, "tokenizer"),
            text_encoder=load_part(T5EncoderModel, checkpoint, "text_encoder", placement),
            transformer=load_part(GlmImageTransformer2DModel, checkpoint, "transformer", placement),
            scheduler=load_part(FlowMatchEulerDiscreteScheduler, checkpoint, "scheduler"),
            vae=load_part(AutoencoderKL, checkpoint, "vae", placement),
        )
        watch(Loading("decoder", done=True))
        return cls(parts, placement, shelf)

    @torch.inference_mode()
    def paint(self, dump: TokenDump, settings: PaintSettings, watch: Watch) -> Image:
        """Paint the target grid of a dump. Returns an RGB picture of the dump's size."""
        parts, guided = self.parts, settings.guidance > 1
        latents = self._noise(dump, settings.seed)
        conditioning = prepare_conditioning(
            parts.transformer,
            dump.target,
            self._glyphs(dump.prompt),
            self._glyphs("") if guided else None,
            latents,
            (dump.height, dump.width),
            self.sources.read(dump.sources, self.placement.dtype),
            settings.dropped.cells if settings.dropped else None,
        )
        patches = conditioning.rotary[0].shape[0]
        timesteps = set_timesteps(parts.scheduler, settings.steps, patches, latents.device)
        steps = denoise(parts.transformer, parts.scheduler, timesteps, latents, conditioning, settings.guidance)
        for number, denoised in enumerate(steps, start=1):
            latents = denoised
            watch(StepDone(number, settings.steps))
        del conditioning, steps  # the sources' keys and values, before the VAE needs room
        return decode_latents(parts.vae, latents)

    def close(self) -> None:
        """Free the weights."""
        del self.parts, self.sources
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.memory.empty_cache()

    def _noise(self, dump: TokenDump, seed: int) -> torch.Tensor:
        """The latents to start from, the ones diffusers draws for this seed."""
        vae_scale = 2 ** (len(self.parts.vae.config.block_out_channels) - 1)
        shape = (1, self.parts.transformer.config.in_channels, dump.height // vae_scale, dump.width // vae_scale)
        device = self.placement.device
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=device, dtype=self.placement.dtype)

    def _glyphs(self, prompt: str) -> torch.Tensor:
        return embed_glyphs(prompt, self.parts.tokenizer, self.parts.text_encoder, self.placement.dtype)
