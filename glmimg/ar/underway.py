"""Works that are being written, as they are left unfinished and gone on from: tokens with their keys and values.

Nothing is read again, so that every number is the one of an unbroken run. Random streams are not kept: a seed says
all its numbers, and those of the tokens that are there are drawn and dropped in no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from glmimg.ar.decode_loop import Decoder
from glmimg.ar.drawing import Drawing
from glmimg.ar.jacobi import Row
from glmimg.ar.prompt import ARPrompt
from glmimg.ar.sampling import TokenSampler
from glmimg.events import Watch
from glmimg.runtime.device import Placement
from glmimg.tokens.change import TokenWork

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration


class Underway:
    """A batch of works under way. recited: tokens of a begun dump, before which nothing is worth leaving"""

    def __init__(
        self,
        works: Sequence[TokenWork],
        prompts: Sequence[ARPrompt],
        drawing: Drawing,
        model: GlmImageForConditionalGeneration,
        placement: Placement,
        watch: Watch,
    ) -> None:
        self.works, self.prompts, self.drawing, self.model, self.placement = works, prompts, drawing, model, placement
        self.recited = sum(grid.height * grid.width for grid in works[0].begun.grids) if works[0].begun else 0
        left = [work.part.take(placement.device, placement.dtype, watch) for work in works if work.part is not None]
        begun = [each for each in left if each is not None]
        together = len(begun) == len(works) and len({each.done for each in begun}) == 1
        self.begun = begun if together else []
        self.decoder: Decoder | None = None
        self.rows: Sequence[Row] = ()
        self.marks: list[tuple[int, dict[str, Any]]] = []

    def go_on(self, sampler: TokenSampler, known: torch.Tensor) -> torch.Tensor:
        """The tokens there are, [rows, count]: those left, with streams and drawing as they were, else the `known`."""
        if not self.begun:
            return known
        tokens = torch.stack([each.state["tokens"] for each in self.begun]).to(known.device)
        sampler.drawn = tokens.shape[1]
        like = torch.empty(len(tokens), self.model.config.text_config.vision_vocab_size, device=known.device)
        for _ in range(sampler.drawn):
            sampler.noise(like)
        self.drawing.go_on(tokens, self.begun[0].seconds, self.begun[0].passes)
        return tokens

    def caches(self) -> list[DynamicCache]:
        """What was read of each row when it was left."""
        caches = []
        for each in self.begun:
            caches.append(cache := DynamicCache(config=self.model.model.language_model.config))
            for layer, (keys, values) in enumerate(each.state["kv"].to(self.model.device)):
                cache.update(keys[None], values[None], layer)
        return caches

    def follow(self, decoder: Decoder, rows: Sequence[Row] = ()) -> None:
        """Watch what writes; rows of Jacobi decoding get back the drafts they had."""
        self.decoder, self.rows = decoder, rows
        for row, left in zip(rows, self.begun, strict=False):
            row.drafts = left.state["drafts"]
            row.window.mean, row.window.resting = left.state["window"]

    def mark(self) -> None:
        """Remember where a pass ended: an interrupt finds what came after half done."""
        if self.rows:
            self.marks = [
                (len(row.finished), {"drafts": [*row.drafts], "window": [row.window.mean, row.window.resting]})
                for row in self.rows
            ]
        else:
            self.marks = [(self.drawing.count, {})] * len(self.works)

    def leave(self) -> None:
        """Write each work's part. Raises WriteError (exit 1)."""
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
