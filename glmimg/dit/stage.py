"""Stage 2: loaded once, paints a picture from each dump, frees its memory when closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch

from glmimg.dit.captured import captured_runner
from glmimg.dit.conditioning import prepare_conditioning
from glmimg.dit.denoise import BlockRunner, Guidance, denoise, plain_runner
from glmimg.dit.glyph import embed_glyphs
from glmimg.dit.one_batch import one_batch_runner
from glmimg.dit.parts import DecoderParts
from glmimg.dit.pixels import decode_latents
from glmimg.dit.schedule import set_timesteps, switch_scheduler
from glmimg.dit.sources import SourceReader
from glmimg.dit.stepcache import cached_runner
from glmimg.events import Loading, StepDone, Watch
from glmimg.job import Painting
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.finite import FiniteCheck
from glmimg.runtime.layout import Layout
from glmimg.runtime.release import release_memory
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image


class DiTStage:
    """The decoding half of a checkpoint, ready to paint dumps."""

    def __init__(self, parts: DecoderParts, placement: Placement, shelf: SourceShelf | None = None) -> None:
        self.parts = parts
        self.placement = placement
        self.sources = SourceReader(parts, shelf or SourceShelf())

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        placement: Placement,
        watch: Watch,
        shelf: SourceShelf | None = None,
        layout: Layout = Layout(),
        *,
        with_encoder: bool = True,
        compile: bool = False,
    ) -> Self:
        """Load glyph encoder, DiT and VAE, its encoder only for sources; `shelf` is where the sources of edits are.

        compile: let the inductor compile the DiT's blocks, unless they are streamed
        raises: ModelUnfit (exit 4), OutOfMemory (exit 5)
        """
        watch(Loading("decoder"))
        parts = DecoderParts(checkpoint, placement, layout, with_encoder=with_encoder, compile=compile)
        parts.load_all()
        watch(Loading("decoder", done=True))
        return cls(parts, placement, shelf)

    @torch.inference_mode()
    def paint(self, dump: TokenDump, painting: Painting, watch: Watch) -> Image:
        """Paint the target grid of a dump. Returns an RGB picture of the dump's size."""
        latents = self._denoise(dump, painting, watch)
        return decode_latents(self.parts.vae, latents)

    def _denoise(self, dump: TokenDump, painting: Painting, watch: Watch) -> torch.Tensor:
        """From noise to the latents of a picture."""
        glyphs = self._glyphs(dump.prompt)
        no_glyphs = self._glyphs("") if painting.guidance > 1 else None
        latents = self._noise(dump, painting.dit_seed)
        encoded = self.sources.encode(dump.sources, self.placement.dtype)
        transformer = self.parts.transformer
        size_px = (dump.height, dump.width)
        sources = self.sources.read(dump.sources, encoded)
        dropped = painting.drop.cells if painting.drop else None
        conditioning = prepare_conditioning(
            transformer, dump.target, glyphs, no_glyphs, latents, size_px, sources, dropped
        )
        set_timesteps(self.parts.scheduler, painting.steps, conditioning.rotary[0].shape[0], latents.device)
        scheduler, timesteps = switch_scheduler(self.parts.scheduler, painting.scheduler)
        guidance = Guidance(painting.guidance, painting.guidance_window)
        run_blocks = self._runner(painting, len(timesteps))
        steps = denoise(transformer, scheduler, timesteps, latents, conditioning, guidance, run_blocks)
        finite = FiniteCheck(lambda number: f"the latents after denoising step {number} of {len(timesteps)}")
        for number, denoised in enumerate(steps, start=1):
            latents = denoised
            finite.look(latents, number)
            watch(StepDone(number, len(timesteps)))
        finite.check()
        return latents

    def _runner(self, painting: Painting, steps: int) -> BlockRunner:
        """How the blocks are gone through for one picture of `steps` passes."""
        transformer = self.parts.transformer
        if painting.cache is not None:
            return cached_runner(transformer, painting.cache, steps)
        run_blocks = (one_batch_runner if painting.guidance_batch else plain_runner)(transformer.transformer_blocks)
        captures = self.parts.is_compiled and transformer.device.type == "cuda"
        return captured_runner(run_blocks) if captures else run_blocks

    def close(self) -> None:
        """Free the weights."""
        self.parts.close()
        release_memory()

    def _noise(self, dump: TokenDump, seed: int) -> torch.Tensor:
        """The latents to start from, the ones diffusers draws for this seed."""
        shape = self.parts.latent_shape(dump.height, dump.width)
        device = self.placement.device
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=device, dtype=self.placement.dtype)

    def _glyphs(self, prompt: str) -> torch.Tensor:
        return embed_glyphs(prompt, self.parts.tokenizer, self.parts.text_encoder, self.placement.dtype)
