"""Stage 1: loaded once, writes a token dump for each job, frees its memory when closed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import torch

from glmimg import __version__
from glmimg.ar.batch_size import rows_that_fit
from glmimg.ar.decode_loop import Decoder, TextDecoder, write_tokens
from glmimg.ar.embedding import EmbeddingRows
from glmimg.ar.guess import Guesser
from glmimg.ar.jacobi import write_jacobi
from glmimg.ar.prompt import ARPrompt, build_prompt
from glmimg.ar.sampling import Replay, TokenSampler
from glmimg.ar.sources import SourceEncoder
from glmimg.ar.static_decoder import StaticDecoder, can_be_static
from glmimg.ar.window import MAX_WINDOW, Window
from glmimg.errors import UsageError
from glmimg.events import Loading, PreviewWritten, TokensWritten, Watch
from glmimg.grid import GridShape, Role
from glmimg.job import ARChoice, Job, SourceRef
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.runtime.load import Selection, load_module, load_part, quiet_libraries
from glmimg.runtime.lora import put_on
from glmimg.runtime.release import release_memory
from glmimg.runtime.weights import WeightFiles
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import Grid, ModelRef, SamplingRecord, Source, Stats, TokenDump

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

EMBEDDING = "model.language_model.embed_tokens"
EYES = ("model.visual", "model.vqmodel")
"""What only source pictures need."""

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
        choice: ARChoice = ARChoice(),
    ) -> None:
        self.model = model
        self.processor = processor
        self.checkpoint = checkpoint
        self.shelf = shelf or SourceShelf()
        self.encoder = SourceEncoder(model)
        self.choice = choice
        self.static: StaticDecoder | None = None
        self.model_ref = ModelRef(
            id=checkpoint.id,
            revision=checkpoint.revision,
            codebook_size=checkpoint.codebook_size,
            fingerprint=checkpoint.fingerprint(),
        )

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        placement: Placement,
        watch: Watch,
        shelf: SourceShelf | None = None,
        choice: ARChoice = ARChoice(),
        layout: Layout = Layout(),
        *,
        with_eyes: bool = True,
    ) -> Self:
        """Load processor and text model, with `with_eyes` also vision encoder and VQ, for source pictures.

        shelf:  where the sources of edits are
        raises: ModelUnfit (exit 4), OutOfMemory (exit 5)
        """
        quiet_libraries()
        from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

        watch(Loading("AR model"))
        processor = load_part(GlmImageProcessor, checkpoint, "processor")
        part = "vision_language_encoder"
        selection = Selection(
            skip=() if with_eyes else EYES,
            replaced=(EMBEDDING,),
            stack="model.language_model.layers",
            resident=layout.resident,
            quantize=layout.quantize,
            with_stack=("lm_head",),
        )
        model = load_module(GlmImageForConditionalGeneration, checkpoint, part, placement, selection)
        table = WeightFiles(checkpoint, part).map(f"{EMBEDDING}.weight")
        rows = model.config.text_config.vision_vocab_size
        model.model.language_model.embed_tokens = EmbeddingRows(table, rows, placement)
        put_on(model, layout.loras)
        watch(Loading("AR model", done=True))
        return cls(model, processor, checkpoint, shelf, choice)

    def write(self, job: Job, watch: Watch) -> TokenDump:
        """Draw the token grids of one job. Raises as `write_batch`."""
        return self.write_batch([job], watch)[0]

    @torch.inference_mode()
    def write_batch(
        self, jobs: Sequence[Job], watch: Watch, *, begun: Sequence[TokenDump] = (), until: Role = "target"
    ) -> list[TokenDump]:
        """Draw the token grids of several jobs at once; each gets the tokens it would get alone.

        jobs:   of one size and sampling
        begun:  for each job its preview, to go on from as if it had not stopped there
        until:  the last grid to draw
        raises: UsageError (exit 2) if prompt and grids exceed the model's context;
                BadImage (exit 3) if a source's file is gone
        """
        prompts = self._read_prompts(jobs)
        if jobs[0].sampling.method == "jacobi":  # windows of unlike reach: rows one after the other
            return [
                self._write([job], [prompt], begun[row : row + 1], until, watch)[0]
                for row, (job, prompt) in enumerate(zip(jobs, prompts, strict=True))
            ]
        return self._write(jobs, prompts, begun, until, watch)

    def rows_that_fit(self, job: Job) -> int:
        """How many jobs like this one to draw at once: as many as pay, and as memory holds."""
        if self.choice.rows is not None:
            return self.choice.rows
        return rows_that_fit(self.model, self._read_prompts([job])[0].length)

    def _write(
        self,
        jobs: Sequence[Job],
        prompts: Sequence[ARPrompt],
        begun: Sequence[TokenDump],
        until: Role,
        watch: Watch,
    ) -> list[TokenDump]:
        grids = _grids_until(prompts[0], until)
        new_tokens = sum(shape.cells for _, shape in grids)
        first = grids[0][1].cells if len(grids) > 1 else 0
        started = time.perf_counter()
        pieces: list[torch.Tensor] = []

        def dumps(shapes: tuple[tuple[Role, GridShape], ...]) -> list[TokenDump]:
            ids = torch.cat(pieces, dim=1).tolist()
            seconds = round(time.perf_counter() - started, 3)
            stats = Stats(seconds=seconds, tokens=len(ids[0]), forward_passes=len(pieces))
            return [self._dump(*each, shapes, stats) for each in zip(jobs, prompts, ids, strict=True)]

        count = 0
        for piece in self._pieces(jobs, prompts, [_flat_preview(dump) for dump in begun], new_tokens):
            pieces.append(piece)
            before, count = count, count + piece.shape[1]
            if count // REPORT_EVERY > before // REPORT_EVERY or count == new_tokens:
                watch(TokensWritten(count, grids, time.perf_counter() - started, len(jobs), len(pieces)))
            if before < first <= count:
                watch(PreviewWritten(tuple(dumps(grids[:1]))))
        return dumps(grids)

    def _pieces(
        self, jobs: Sequence[Job], prompts: Sequence[ARPrompt], said: list[list[int]], new_tokens: int
    ) -> Iterator[torch.Tensor]:
        """The tokens of every row, as many as each forward pass yields: [rows, count]."""
        sampling, sampler = jobs[0].sampling, self._sampler(jobs)
        if sampling.method == "jacobi":
            decoder = TextDecoder(self.model, prompts, new_tokens + 1)
            guesser, window = Guesser([shape for _, shape in prompts[0].grids]), Window(sampling.window or MAX_WINDOW)
            yield from write_jacobi(decoder, sampler, guesser, window, new_tokens, said[0] if said else ())
            return
        replayed = Replay(sampler, torch.tensor(said, device=self.model.device)) if said else sampler
        for token in write_tokens(self._decoder(prompts, new_tokens), replayed, new_tokens):
            yield token[:, None]

    def _sampler(self, jobs: Sequence[Job]) -> TokenSampler:
        return TokenSampler(
            jobs[0].sampling,
            [torch.Generator(self.model.device).manual_seed(job.seed) for job in jobs],
            self.checkpoint.codebook_size,
            self.checkpoint.generation_config.get("suppress_tokens", ()),
        )

    def _decoder(self, prompts: Sequence[ARPrompt], new_tokens: int) -> Decoder:
        """The plain decoder, or the one of static shape where that pays and works."""
        wanted = self.choice.compile
        if getattr(self.model, "streamed_layers", None) is not None:
            wanted = False  # a static pass needs every layer at once
        elif wanted is None:
            wanted = self.model.device.type == "cuda" and can_be_static(self.model)
        if not wanted:
            return TextDecoder(self.model, prompts, new_tokens)
        if self.static is None:
            self.static = StaticDecoder(self.model, compile=bool(self.choice.compile))
        self.static.start(prompts, new_tokens)
        return self.static

    def _read_prompts(self, jobs: Sequence[Job]) -> list[ARPrompt]:
        """The prompts as the model reads them; jobs that differ in nothing but the seed share one object."""
        known: dict[tuple[str, int, int, tuple[SourceRef, ...]], ARPrompt] = {}
        for job in jobs:
            key = (job.prompt, job.height, job.width, job.sources)
            if key not in known:
                sources = [self.shelf.get(ref) for ref in job.sources]
                known[key] = build_prompt(*key[:3], self.processor, self.model, sources, self.encoder)
                self.check_context(known[key])
        return [known[job.prompt, job.height, job.width, job.sources] for job in jobs]

    def close(self) -> None:
        """Free the weights."""
        streamed = getattr(self.model, "streamed_layers", None)
        if streamed is not None:
            streamed.close()
        del self.model, self.encoder
        self.static = None
        release_memory()

    def check_context(self, prompt: ARPrompt) -> None:
        """Raise UsageError (exit 2) if prompt and grids exceed what the model can read."""
        limit = self.model.config.text_config.max_position_embeddings
        if prompt.length > limit:
            raise UsageError(
                f"prompt and grids take {prompt.length} tokens, the model reads {limit}",
                "Shorten the prompt or the size.",
            )

    def _dump(
        self,
        job: Job,
        prompt: ARPrompt,
        ids: Sequence[int],
        shapes: Sequence[tuple[Role, GridShape]],
        stats: Stats,
    ) -> TokenDump:
        grids, start = [], 0
        for role, shape in shapes:
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
            stats=stats,
            glmimg=__version__,
        )


def _grids_until(prompt: ARPrompt, until: Role) -> tuple[tuple[Role, GridShape], ...]:
    roles = [role for role, _ in prompt.grids]
    return prompt.grids[: 1 + roles.index(until)]


def _flat_preview(dump: TokenDump) -> list[int]:
    return [token for grid in dump.grids for token in grid.flat()]
