"""Stage 1 jobs in progress: their tokens so far, and saving and resuming them with keys and values.

Nothing is read again, so that every number is the one of an unbroken run. Random streams are not kept: a seed says
all its numbers, and those of the tokens that are there are drawn and dropped in no time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from glmimg.ar.decode_loop import Decoder
from glmimg.ar.jacobi import Row
from glmimg.ar.kv_cache import head_dim
from glmimg.ar.prompt import ARPrompt
from glmimg.ar.sampling import TokenSampler
from glmimg.events import TokensWritten, Watch
from glmimg.grid import GridShape, Role
from glmimg.runtime.device import Placement
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import Stats
from glmimg.unfinished import Unfinished

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration

REPORT_EVERY = 16
"""Tokens between two reports of progress: reading the clock is free, drawing a terminal is not."""


class Drawing:
    """Tokens of a batch as they come.

    grids: (role, shape) in the order of writing
    rows:  of the batch
    start: the first token to be drawn; those before it are known
    """

    def __init__(self, grids: Sequence[tuple[Role, GridShape]], rows: int, watch: Watch, start: int = 0) -> None:
        self.grids, self.rows, self.watch = tuple(grids), rows, watch
        self.count = start
        self.started = time.perf_counter()
        self._pieces: list[torch.Tensor] = []
        self._passes_before = 0

    def go_on(self, tokens: torch.Tensor, seconds: float, passes: int) -> None:
        """Start from tokens of an earlier run, [rows, count], and its timings."""
        self._pieces, self.count = [tokens], tokens.shape[1]
        self.started, self._passes_before = self.started - seconds, passes - 1

    def follow(self, pieces: Iterable[torch.Tensor], end: int) -> Iterator[int]:
        """Take in the pieces a loop yields, [rows, count] each. Yields how many tokens were there before each."""
        for piece in pieces:
            self._pieces.append(piece)
            before, self.count = self.count, self.count + piece.shape[1]
            if self.count // REPORT_EVERY > before // REPORT_EVERY or self.count == end:
                seconds = time.perf_counter() - self.started
                self.watch(TokensWritten(self.count, self.grids, seconds, self.rows, self.passes))
            yield before

    @property
    def passes(self) -> int:
        return self._passes_before + len(self._pieces)

    def tokens(self) -> list[list[int]]:
        """The tokens drawn so far, row by row."""
        return torch.cat(self._pieces, dim=1).tolist()

    def stats(self, tokens: int) -> Stats:
        """What `tokens` tokens a row took."""
        seconds = round(time.perf_counter() - self.started, 3)
        return Stats(seconds=seconds, tokens=tokens, forward_passes=self.passes)


class Underway:
    """A batch of jobs in progress. recited: tokens of a resumed dump, before which saving is not worthwhile"""

    def __init__(
        self,
        works: Sequence[TokenWork],
        prompts: Sequence[ARPrompt],
        sampler: TokenSampler,
        drawing: Drawing,
        model: GlmImageForConditionalGeneration,
        placement: Placement,
        watch: Watch,
    ) -> None:
        self.works, self.prompts, self.sampler, self.drawing = works, prompts, sampler, drawing
        self.model, self.placement = model, placement
        self.recited = sum(grid.height * grid.width for grid in works[0].begun.grids) if works[0].begun else 0
        begun = []
        for work, prompt in zip(works, prompts, strict=True):
            fits = partial(self._fits, prompt)
            left = work.part and work.part.take(placement.device, placement.dtype, fits, watch)
            begun += [left] if left else []
        together = len(begun) == len(works) and len({each.done for each in begun}) == 1
        self.begun = begun if together else []
        self.decoder: Decoder | None = None
        self.rows: Sequence[Row] = ()
        self.marks: list[tuple[int, dict[str, Any]]] = []

    def _fits(self, prompt: ARPrompt, left: Unfinished) -> bool:
        """Whether a saved state fits this prompt: the same shapes, and valid codes."""
        config, state = self.model.config.text_config, left.state
        rows, read = 2 * config.num_hidden_layers, prompt.input_ids.shape[1] + left.done - 1
        has_drafts = self.sampler.sampling.ar_method == "jacobi"
        mean, resting = state["window"] if has_drafts else (1.0, 0)
        codes = [*state["tokens"].tolist(), *(state["drafts"] if has_drafts else ())]
        return (
            0 < left.done == len(state["tokens"]) <= sum(shape.cells for _, shape in self.drawing.grids)
            and state["kv"].shape == (rows // 2, 2, config.num_key_value_heads, read, head_dim(config))
            and all(type(code) is int and 0 <= code < self.sampler.codebook_size for code in codes)
            and (type(mean), type(resting)) == (float, int)
        )

    def go_on(self, known: torch.Tensor) -> torch.Tensor:
        """The tokens to start from, [rows, count]: saved ones, with streams and timings restored, or the `known`."""
        if not self.begun:
            return known
        tokens = torch.stack([each.state["tokens"] for each in self.begun]).to(known.device)
        self.sampler.drawn = tokens.shape[1]
        like = torch.empty(len(tokens), self.model.config.text_config.vision_vocab_size, device=known.device)
        for _ in range(self.sampler.drawn):
            self.sampler.noise(like)
        self.drawing.go_on(tokens, self.begun[0].seconds, self.begun[0].passes)
        return tokens

    def caches(self) -> list[DynamicCache]:
        """The cache of each row as it was saved."""
        caches = []
        for each in self.begun:
            caches.append(cache := DynamicCache(config=self.model.model.language_model.config))
            for layer, (keys, values) in enumerate(each.state["kv"].to(self.model.device)):
                cache.update(keys[None], values[None], layer)
        return caches

    def follow(self, decoder: Decoder, rows: Sequence[Row] = ()) -> None:
        """Attach the decoder to watch; rows of Jacobi decoding get their saved drafts back."""
        self.decoder, self.rows = decoder, rows
        for row, left in zip(rows, self.begun, strict=False):
            row.drafts = left.state["drafts"]
            row.window.mean, row.window.resting = left.state["window"]

    def mark(self) -> None:
        """Remember the state at the end of a pass, since an interrupt may come in the middle of the next."""
        if self.rows:
            self.marks = [
                (len(row.finished), {"drafts": [*row.drafts], "window": [row.window.mean, row.window.resting]})
                for row in self.rows
            ]
        else:
            self.marks = [(self.drawing.count, {})] * len(self.works)

    def leave(self) -> None:
        """Write the .part file of each job. Raises WriteError (exit 1)."""
        if self.decoder is None or not self.marks:
            return
        tokens = [row.finished for row in self.rows] or self.drawing.tokens()
        seconds = self.drawing.stats(0).seconds
        for number, (work, (count, state)) in enumerate(zip(self.works, self.marks, strict=True)):
            if work.part is None or count <= self.recited:
                continue
            read = self.prompts[number].input_ids.shape[1] + count - 1
            held = self.decoder.kv_cache.state(number, read)
            state = state | {"tokens": torch.tensor(tokens[number][:count]), "kv": held}
            total = sum(shape.cells for _, shape in self.drawing.grids)
            how_far = {"done": count, "total": total, "seconds": seconds, "passes": self.drawing.passes}
            work.part.leave(self.placement.device, self.placement.dtype, state, **how_far)
