"""Stage 1: loads once, writes a token dump for each job, and frees its memory when closed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from glmimg import __version__
from glmimg.ar.decode_loop import Decoder, TextDecoder, write_tokens
from glmimg.ar.jacobi import MAX_WINDOW, Guesser, Row, Window, write_jacobi
from glmimg.ar.kv_cache import rows_that_fit
from glmimg.ar.layers import EmbeddingRows
from glmimg.ar.prompt import ARPrompt, Grids, SourceEncoder, build_prompt, encode_picture
from glmimg.ar.sampling import Recital, TokenSampler
from glmimg.ar.scoring import score_grids
from glmimg.ar.static_decoder import StaticDecoder, can_be_static
from glmimg.ar.underway import Drawing, Underway
from glmimg.choice import ModelChoice
from glmimg.errors import UsageError
from glmimg.events import Loading, PreviewWritten, Watch
from glmimg.grid import preview_shape, target_shape
from glmimg.job import Job, Sampling, Scene, Size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.health import check_processor
from glmimg.runtime.layout import Layout
from glmimg.runtime.load import Selection, load_module, load_part, quiet_libraries
from glmimg.runtime.lora import put_on
from glmimg.runtime.machine import release_memory
from glmimg.runtime.weights import weights_of
from glmimg.sources import SourceShelf
from glmimg.tokens.change import FROM_IMAGE, REDRAW, Reading, Redraw, TokenWork
from glmimg.tokens.dump import Grid, ModelRef, Parent, SamplingRecord, Source, Stats, TokenDump
from glmimg.unfinished import kept

if TYPE_CHECKING:
    from transformers import DynamicCache, GlmImageForConditionalGeneration, GlmImageProcessor


class ARStage:
    """The AR part of a checkpoint, ready to write dumps."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        placement: Placement,
        watch: Watch,
        shelf: SourceShelf | None = None,
        choice: ModelChoice = ModelChoice(),
        layout: Layout = Layout(),
        *,
        with_vision: bool = True,
    ) -> None:
        """Load processor and text model, with `with_vision` also vision encoder and VQ, for source pictures.

        shelf:  where the sources of edits are
        raises: ModelUnfit (exit 4), OutOfMemory (exit 5)
        """
        watch(Loading("AR model"))
        self.processor, self.model = _load(checkpoint, placement, layout, with_vision=with_vision)
        watch(Loading("AR model", done=True))
        self.checkpoint, self.choice, self.placement = checkpoint, choice, placement
        self.shelf = shelf or SourceShelf()
        self.encoder = SourceEncoder(self.model)
        self.static: StaticDecoder | None = None
        self.draws_ahead = True  # else one by one, whatever a job says: the tokens are the same
        self.compiles_unasked = False  # whether a static pass that is taken unasked is also compiled
        self.model_ref = ModelRef(
            id=checkpoint.id,
            revision=checkpoint.revision,
            codebook_size=checkpoint.codebook_size,
            fingerprint=checkpoint.fingerprint(),
            changes=choice.changes,
        )

    @torch.inference_mode()
    def write(self, works: Sequence[TokenWork], watch: Watch) -> list[TokenDump]:
        """Draw the token grids of several jobs at once; each gets the tokens it would get alone.

        works:  of one kind
        raises: UsageError (exit 2) if prompt and grids exceed the model's context;
                BadImage (exit 3) if a source's file is gone
        """
        prompts = self._read_prompts([work.job.scene for work in works])
        jobs, all_grids = [work.job for work in works], prompts[0].grids
        grids = all_grids[: 1 + [role for role, _ in all_grids].index(works[0].until)]
        new_tokens = sum(shape.cells for _, shape in grids)
        preview = grids[0][1].cells if len(grids) > 1 else 0
        sampler = self._sampler(jobs, grids)
        drawing = Drawing(grids, len(jobs), watch)

        def dumps(shapes: Grids) -> list[TokenDump]:
            sampler.finite.check()
            stats, rows = drawing.stats(sum(shape.cells for _, shape in shapes)), drawing.tokens()
            each = zip(jobs, prompts, rows, strict=True)
            return [self._dump(job, Grid.several(shapes, ids), stats, prompt) for job, prompt, ids in each]

        underway = Underway(works, prompts, sampler, drawing, self.model, self.placement, watch)
        begun = [_flat(work.begun.grids) for work in works if work.begun is not None]
        known = torch.tensor(begun or [()] * len(jobs), dtype=torch.int64, device=self.model.device)
        known = underway.go_on(known)
        if preview and drawing.count >= preview:
            watch(PreviewWritten(tuple(dumps(grids[:1]))))
        recital = Recital(sampler, known, [False] * known.shape[1], stream_moves=True)
        with kept(underway.leave, watch) as look:
            pieces = self._pieces(prompts, recital, new_tokens, drawing.count, underway)
            for before in drawing.follow(pieces, new_tokens):
                underway.mark()
                look()
                if before < preview <= drawing.count:
                    watch(PreviewWritten(tuple(dumps(grids[:1]))))
        return dumps(grids)

    @torch.inference_mode()
    def redraw(self, redraw: Redraw, watch: Watch) -> TokenDump:
        """Draw part of a dump anew. Raises as `write`."""
        job, (prompt,) = redraw.job, self._read_prompts([redraw.job.scene])
        ids = _flat(redraw.kept)
        anew = [cell for mask in redraw.anew for row in mask for cell in row]
        # What comes before the first redrawn cell is read with the prompt, in one pass; nothing after the last is read.
        first, end = anew.index(True), len(anew) - anew[::-1].index(True)
        known = torch.tensor([ids], device=self.model.device)
        sampler = self._sampler([job], prompt.grids)
        sampler.drawn = first
        recital = Recital(sampler, known, anew, stream_moves=False)
        drawing = Drawing(prompt.grids, 1, watch, start=first)
        for _ in drawing.follow(self._pieces([prompt.followed_by(known[0, :first])], recital, end, first), end):
            pass
        sampler.finite.check()
        ids[first:end] = drawing.tokens()[0]
        grids = Grid.several(prompt.grids, ids)
        return self._dump(job, grids, drawing.stats(sum(anew)), prompt, method=REDRAW, parents=redraw.parents)

    @torch.inference_mode()
    def score(self, dump: TokenDump) -> TokenDump:
        """The dump with log-probabilities and entropies. Raises as `write`."""
        (prompt,) = self._read_prompts([dump.scene])
        grids = score_grids(self.model, prompt, dump.grids, self.checkpoint.codebook_size)
        return dump.model_copy(update={"grids": grids})

    @torch.inference_mode()
    def encode(self, reading: Reading) -> TokenDump:
        """The dump of a picture's own codes."""
        started, target = time.perf_counter(), target_shape(reading.height, reading.width)
        shapes: Grids = (("preview", preview_shape(target)), ("target", target))
        grids = [encode_picture(self.model, self.processor, reading.image, role, shape) for role, shape in shapes]
        seconds = round(time.perf_counter() - started, 3)
        stats = Stats(seconds=seconds, tokens=sum(shape.cells for _, shape in shapes), forward_passes=len(grids))
        scene = Scene(prompt=reading.prompt, size=Size(reading.height, reading.width))
        sampling = Sampling(seed=reading.seed, temperature=1.0, top_p=1.0)
        job = Job(scene=scene, sampling=sampling, painting=reading.painting)
        return self._dump(job, grids, stats, method=FROM_IMAGE, parents=(reading.parent,))

    def rows_that_fit(self, work: TokenWork) -> int:
        """How many jobs like this one to draw at once: as many as pay off and fit in memory."""
        if self.choice.rows is not None:
            return self.choice.rows
        length = self._read_prompts([work.job.scene])[0].length
        return self.static.rows_that_fit(length) if self.static else rows_that_fit(self.model, length)

    def _pieces(
        self,
        prompts: Sequence[ARPrompt],
        recital: Recital,
        end: int,
        start: int = 0,
        underway: Underway | None = None,
    ) -> Iterator[torch.Tensor]:
        """Tokens `start` to `end` of every row, as many as each forward pass yields: [rows, count].

        underway: what was left of these works, and what is left of them next time
        """
        sampling, read = recital.sampler.sampling, underway.caches() if underway else []
        if sampling.ar_method == "jacobi":
            shapes, limit = [shape for _, shape in prompts[0].grids], sampling.ar_window or MAX_WINDOW
            rows = [
                Row(each, Guesser(shapes), Window(limit, len(prompts)), each.first_row[:start])
                for each in recital.split()
            ]
            new_tokens = end - start + limit + bool(read)
            reader = TextDecoder(self.model, prompts, new_tokens, together=True, read=read)
            if underway is not None:
                underway.follow(reader, rows)
            yield from write_jacobi(reader, rows, end, goes_on=bool(read))
            return
        is_whole = read or start == 0
        decoder = self._decoder(prompts, end, read) if is_whole else TextDecoder(self.model, prompts, end - start)
        if underway is not None:
            underway.follow(decoder)
        for token in write_tokens(decoder, recital, end - start, recital.known if read else None):
            yield token[:, None]

    def _sampler(self, jobs: Sequence[Job], grids: Grids) -> TokenSampler:
        suppressed = self.checkpoint.generation_config.get("suppress_tokens", ())
        vocabulary = self.model.config.text_config.vision_vocab_size
        law = jobs[0].sampling
        return TokenSampler(
            law if self.draws_ahead else law.model_copy(update={"ar_method": "sequential"}),
            [torch.Generator(self.model.device).manual_seed(job.sampling.seed) for job in jobs],
            self.checkpoint.codebook_size,
            [token for token in suppressed if token < vocabulary],
            partial(_logits_of, grids),
        )

    def _decoder(self, prompts: Sequence[ARPrompt], new_tokens: int, read: Sequence[DynamicCache] = ()) -> Decoder:
        """The plain decoder, or the static-shape one where it works and pays off. read: as of `TextDecoder`"""
        # In fp32 the plain pass has the stock pipeline's tokens; in half precision every way rounds otherwise.
        on_card = self.model.device.type == "cuda"
        wanted = on_card and self.model.dtype != torch.float32 if self.choice.compile is None else self.choice.compile
        has_all_layers = not hasattr(self.model, "streamed_layers")  # as a static pass needs
        if not wanted or not has_all_layers or (on_card and not can_be_static(self.model)):
            return TextDecoder(self.model, prompts, new_tokens, read=read)
        if self.static is None:
            self.static = StaticDecoder(self.model, compile=self.choice.compile or self.compiles_unasked)
        self.static.start(prompts, new_tokens, read)
        return self.static

    def _read_prompts(self, scenes: Sequence[Scene]) -> list[ARPrompt]:
        """The prompts as the model reads them. Equal scenes share one object. Raises as `write`."""
        known: dict[Scene, ARPrompt] = {}
        limit = self.model.config.text_config.max_position_embeddings
        for scene in scenes:
            if scene not in known:
                sources = [self.shelf.get(ref) for ref in scene.sources]
                prompt = build_prompt(scene.prompt, *scene.size, self.processor, self.model, sources, self.encoder)
                if prompt.length > limit:
                    message = f"prompt and grids take {prompt.length} tokens, but the model reads at most {limit}"
                    raise UsageError(message, "Shorten the prompt or reduce the size.")
                known[scene] = prompt
        return [known[scene] for scene in scenes]

    def close(self) -> None:
        if hasattr(self.model, "streamed_layers"):
            self.model.streamed_layers.close()
        del self.model, self.encoder
        self.static = None
        release_memory()

    def _dump(
        self,
        job: Job,
        grids: Sequence[Grid],
        stats: Stats,
        prompt: ARPrompt | None = None,
        method: str | None = None,
        parents: Sequence[Parent] = (),
    ) -> TokenDump:
        """The dump of drawn tokens. method: how they were drawn, if not in the way the job says"""
        scene, sampling = job.scene, job.sampling
        record = SamplingRecord(**sampling.model_dump(by_alias=True, exclude={"seed"}))
        if method is not None:
            record = SamplingRecord(**sampling.model_dump(include={"temperature", "top_p", "top_k"}), method=method)
        sources = zip(scene.sources, prompt.sources if prompt else (), strict=True)
        return TokenDump(
            prompt=scene.prompt,
            forms=list(scene.forms),
            height=scene.size.height,
            width=scene.size.width,
            seed=sampling.seed,
            grids=list(grids),
            sources=[Source(**ref.model_dump(), grid=grid) for ref, grid in sources],
            model=self.model_ref,
            sampling=record,
            stats=stats,
            painting=job.painting,
            parents=list(parents),
            glmimg=__version__,
        )


def _load(
    checkpoint: Checkpoint, placement: Placement, layout: Layout, *, with_vision: bool
) -> tuple[GlmImageProcessor, GlmImageForConditionalGeneration]:
    quiet_libraries()
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

    processor = load_part(GlmImageProcessor, checkpoint, "processor")
    check_processor(checkpoint, processor)
    part, embedding = "vision_language_encoder", "model.language_model.embed_tokens"
    selection = Selection(
        skip=() if with_vision else ("model.visual", "model.vqmodel"),
        replaced=(embedding,),
        stack="model.language_model.layers",
        layout=layout,
        with_stack=("lm_head",),
    )
    model = load_module(GlmImageForConditionalGeneration, checkpoint, part, placement, selection)
    files = weights_of(checkpoint, part, model)
    files.check(f"{embedding}.weight", model.model.language_model.embed_tokens.weight)
    table = files.map(f"{embedding}.weight")
    rows = model.config.text_config.vision_vocab_size
    model.model.language_model.embed_tokens = EmbeddingRows(table, rows, placement)
    put_on(model, layout.loras, placement)
    return processor, model


def _logits_of(grids: Grids, number: int) -> str:
    """What the logits of a token are called, by its number from 1 over all grids."""
    for role, shape in grids:
        if number <= shape.cells:
            return f"the logits of token {number} of {shape.cells} of the {role} grid"
        number -= shape.cells
    return "the logits of the last token"


def _flat(grids: Sequence[Grid]) -> list[int]:
    return [token for grid in grids for token in grid.flat()]
