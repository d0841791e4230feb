"""Stage 1: loaded once, writes a token dump for each job, frees its memory when closed."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Self

import torch

from glmimg import __version__
from glmimg.ar.decode_loop import write_tokens
from glmimg.ar.prompt import ARPrompt, build_prompt
from glmimg.ar.sampling import TokenSampler
from glmimg.ar.sources import SourceEncoder
from glmimg.errors import UsageError
from glmimg.events import Loading, TokensWritten, Watch
from glmimg.job import Job
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.load import load_part
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import Grid, ModelRef, SamplingRecord, Source, Stats, TokenDump

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

REPORT_EVERY = 16
"""Tokens between two reports of progress: reading the clock is free, drawing a terminal is not."""


class ARStage:
    """The AR half of a checkpoint, ready to write dumps."""

    def __init__(
        self,
        model: GlmImageForConditionalGeneration,
        processor: GlmImageProcessor,
        checkpoint: Checkpoint,
        shelf: SourceShelf | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.checkpoint = checkpoint
        self.shelf = shelf or SourceShelf()
        self.encoder = SourceEncoder(model)
        self.model_ref = ModelRef(
            id=checkpoint.id,
            revision=checkpoint.revision,
            codebook_size=checkpoint.codebook_size,
            fingerprint=checkpoint.fingerprint(),
        )

    @classmethod
    def load(cls, checkpoint: Checkpoint, placement: Placement, watch: Watch, shelf: SourceShelf | None = None) -> Self:
        """Load processor, text model, vision encoder and VQ.

        shelf:  where the sources of edits are
        raises: ModelUnfit (exit 4)
        """
        from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

        watch(Loading("AR model"))
        processor = load_part(GlmImageProcessor, checkpoint, "processor")
        model = load_part(GlmImageForConditionalGeneration, checkpoint, "vision_language_encoder", placement)
        watch(Loading("AR model", done=True))
        return cls(model, processor, checkpoint, shelf)

    @torch.inference_mode()
    def write(self, job: Job, watch: Watch) -> TokenDump:
        """Draw the token grids of one job.

        raises: UsageError (exit 2) if prompt and grids exceed the model's context;
                BadImage (exit 3) if a source's file is gone
        """
        sources = [self.shelf.get(ref) for ref in job.sources]
        prompt = build_prompt(job.prompt, job.height, job.width, self.processor, self.model, sources, self.encoder)
        self.check_context(prompt)
        sampler = TokenSampler(
            job.sampling,
            [torch.Generator(self.model.device).manual_seed(job.seed)],
            self.checkpoint.codebook_size,
            self.checkpoint.generation_config.get("suppress_tokens", ()),
        )
        started = time.perf_counter()
        tokens: list[torch.Tensor] = []
        for token in write_tokens(self.model, prompt, sampler):
            tokens.append(token)
            if len(tokens) % REPORT_EVERY == 0 or len(tokens) == prompt.new_tokens:
                watch(TokensWritten(len(tokens), prompt.grids, time.perf_counter() - started))
        ids = torch.cat(tokens).tolist()
        return self._dump(job, prompt, ids, time.perf_counter() - started)

    def close(self) -> None:
        """Free the weights."""
        del self.model, self.encoder
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.memory.empty_cache()

    def check_context(self, prompt: ARPrompt) -> None:
        """Raise UsageError (exit 2) if prompt and grids exceed what the model can read."""
        needed = prompt.input_ids.shape[1] + prompt.new_tokens
        limit = self.model.config.text_config.max_position_embeddings
        if needed > limit:
            raise UsageError(
                f"prompt and grids take {needed} tokens, the model reads {limit}", "Shorten the prompt or the size."
            )

    def _dump(self, job: Job, prompt: ARPrompt, ids: list[int], seconds: float) -> TokenDump:
        grids, start = [], 0
        for role, shape in prompt.grids:
            grids.append(Grid.from_flat(role, shape, ids[start : start + shape.cells]))
            start += shape.cells
        return TokenDump(
            prompt=job.prompt,
            height=job.height,
            width=job.width,
            seed=job.seed,
            grids=grids,
            sources=[
                Source(**ref.model_dump(), grid=grid) for ref, grid in zip(job.sources, prompt.sources, strict=True)
            ],
            model=self.model_ref,
            sampling=SamplingRecord(**job.sampling.model_dump()),
            stats=Stats(seconds=round(seconds, 3), tokens=len(ids), forward_passes=len(ids)),
            glmimg=__version__,
        )
