"""Stage 2: loads once, paints a picture from each dump, and frees its memory when closed."""

from __future__ import annotations

from typing import Any, Self

import torch
from PIL.Image import Image

from glmimg.choice import NATIVE
from glmimg.dit.blocks import BlockRunner, captured_runner, one_batch_runner, plain_runner
from glmimg.dit.conditioning import Conditioning, embed_glyphs, prepare_conditioning
from glmimg.dit.denoise import denoise, is_state, restore_solver, set_timesteps, solver_state, switch_scheduler
from glmimg.dit.parts import DecoderParts
from glmimg.dit.sources import SourceReader
from glmimg.dit.stepcache import cached_runner
from glmimg.dit.vae import decode_latents
from glmimg.events import Loading, StepDone, Watch
from glmimg.job import Painting
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.finite import FiniteCheck
from glmimg.runtime.layout import Layout
from glmimg.sources import SourceShelf
from glmimg.sources.prepare import fit_picture
from glmimg.tokens.dump import TokenDump
from glmimg.unfinished import Part, Unfinished, kept


class DiTStage:
    """The decoder of a checkpoint, ready to paint dumps."""

    def __init__(self, parts: DecoderParts, shelf: SourceShelf | None = None) -> None:
        self.parts = parts
        self.sources = SourceReader(parts, shelf or SourceShelf())
        self._captured: dict[bool, BlockRunner] = {}  # by whether branches are one batch

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
        attention: str = NATIVE,
    ) -> Self:
        """Load glyph encoder, DiT and VAE, its encoder only for sources; `shelf` is where the sources of edits are.

        compile:   let the inductor compile the DiT's blocks, unless they are streamed
        attention: whose attention kernels they call, by diffusers' name
        raises:    ModelUnfit (exit 4), OutOfMemory (exit 5)
        """
        watch(Loading("decoder"))
        parts = DecoderParts(
            checkpoint, placement, layout, with_encoder=with_encoder, compile=compile, attention=attention
        )
        parts.load_all()
        watch(Loading("decoder", done=True))
        return cls(parts, shelf)

    @torch.inference_mode()
    def paint(self, dump: TokenDump, painting: Painting, watch: Watch, part: Part | None = None) -> Image:
        """Paint the target grid of a dump. Returns an RGB picture of the dump's size.

        part: where unfinished work is saved and resumed from; not with a step cache, which is not saved
        """
        latents = self._denoise(dump, painting, watch, part)
        in_strips = self.parts.layout.decodes_in_strips(dump.height, dump.width)
        # The VAE is asked for last: where parts take turns, the DiT goes first.
        image = decode_latents(self.parts.vae, latents, in_strips=in_strips)
        if painting.mask is None:
            return image
        first = self.sources.shelf.get(dump.sources[0])
        kept = fit_picture(first.image, dump.height, dump.width, None, first.ref.background)
        return painting.mask.blend(image, kept, painting.feather)

    def _denoise(self, dump: TokenDump, painting: Painting, watch: Watch, part: Part | None) -> torch.Tensor:
        latents, conditioning = self._prepare(dump, painting)
        set_timesteps(self.parts.scheduler, painting.steps, conditioning.rotary[0].shape[0], latents.device)
        scheduler, timesteps = switch_scheduler(self.parts.scheduler, painting.scheduler)
        run_blocks = self._runner(painting, len(timesteps), with_sources=bool(dump.sources))
        place, done = (latents.device, latents.dtype), 0
        mark: tuple[int, dict[str, Any]] = 0, {}

        def fits(left: Unfinished) -> bool:
            return left.done <= len(timesteps) and is_state(left.state, latents.shape, left.done)

        if painting.cache is None and part is not None and (left := part.take(*place, fits, watch)) is not None:
            done, latents = left.done, left.state["latents"]
            restore_solver(scheduler, left.state)

        def leave() -> None:
            if painting.cache is None and part is not None and mark[0]:
                part.leave(*place, mark[1], done=mark[0], total=len(timesteps))

        steps = denoise(self.parts.transformer, scheduler, timesteps, latents, conditioning, painting, run_blocks, done)
        finite = FiniteCheck(lambda number: f"the latents after denoising step {number} of {len(timesteps)}")
        with kept(leave, watch) as look:
            for number, latents in enumerate(steps, start=done + 1):
                finite.look(latents, number)
                mark = number, {"latents": latents, **solver_state(scheduler)}
                watch(StepDone(number, len(timesteps)))
                look()
        finite.check()
        return latents

    def _prepare(self, dump: TokenDump, painting: Painting) -> tuple[torch.Tensor, Conditioning]:
        """The noise to start from, and the conditioning of the DiT."""
        parts = self.parts
        glyphs = self._glyphs(dump.prompt)
        no_glyphs = self._glyphs(painting.negative) if painting.guidance > 1 else None
        latents = self.noise(dump, painting)
        encoded = self.sources.encode(dump.sources)
        sources = self.sources.read(dump.sources, encoded)
        dropped = painting.drop.cells if painting.drop else None
        size_px = (dump.height, dump.width)
        return latents, prepare_conditioning(
            parts.transformer, dump.target, glyphs, no_glyphs, latents, size_px, sources, dropped
        )

    def noise(self, dump: TokenDump, painting: Painting) -> torch.Tensor:
        """The latents to start from, which diffusers draws for this seed."""
        placement, shape = self.parts.placement, self.parts.latent_shape(dump.height, dump.width)
        stream = torch.Generator(placement.device).manual_seed(painting.dit_seed)
        return torch.randn(shape, generator=stream, device=placement.device, dtype=placement.dtype)

    def _runner(self, painting: Painting, steps: int, *, with_sources: bool) -> BlockRunner:
        """How the blocks are run for a picture of `steps` passes."""
        transformer = self.parts.transformer
        if isinstance(painting.cache, float):
            return cached_runner(transformer, painting.cache, steps)
        one_batch = painting.guidance_batch
        run_blocks = (one_batch_runner if one_batch else plain_runner)(transformer.transformer_blocks)
        if not self.parts.is_compiled or transformer.device.type != "cuda":
            return run_blocks
        if with_sources or self.parts.layout.taking_turns:  # blocks that come and go take their graphs with them
            return captured_runner(run_blocks)
        return self._captured.setdefault(one_batch, captured_runner(run_blocks))

    def _glyphs(self, prompt: str) -> torch.Tensor:
        parts = self.parts
        return embed_glyphs(prompt, parts.tokenizer, parts.text_encoder, parts.placement.dtype)

    def close(self) -> None:
        self._captured.clear()
        self.parts.close()
