"""Draw part of a token grid anew: the other tokens are forced while the model reads past them.

What comes before the first redrawn cell is read with the prompt, in one pass; nothing after the
last one is read at all. So a redraw costs the region, not the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from glmimg.ar.decode_loop import TextDecoder, write_tokens
from glmimg.ar.prompt import ARPrompt

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration

    from glmimg.ar.sampling import TokenSampler


@dataclass(frozen=True)
class Forced:
    """All tokens of a picture in the order of writing, and which of them are drawn anew.

    ids:   [tokens] int64
    anew:  [tokens] bool, at least one True
    """

    ids: torch.Tensor
    anew: torch.Tensor

    @property
    def first(self) -> int:
        return int(self.anew.nonzero()[0])

    @property
    def last(self) -> int:
        return int(self.anew.nonzero()[-1])


class ForcedSampler:
    """A sampler that says kept tokens as they are and draws the others.

    The random stream moves on only where something is drawn.
    """

    def __init__(self, sampler: TokenSampler, forced: Forced) -> None:
        self.sampler = sampler
        self.forced = forced
        self.number = forced.first

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """See `TokenSampler.draw`, for one row."""
        number = self.sampler.drawn = self.number
        self.number += 1
        return self.sampler.draw(logits) if self.forced.anew[number] else self.forced.ids[number : number + 1]


def redraw_tokens(
    model: GlmImageForConditionalGeneration, prompt: ARPrompt, sampler: TokenSampler, forced: Forced
) -> Iterator[torch.Tensor]:
    """Yield tokens number `forced.first` to `forced.last`, each [1] int64."""
    rest = read_ahead(prompt, forced.ids[: forced.first])
    count = forced.last - forced.first + 1
    yield from write_tokens(TextDecoder(model, [rest], count), ForcedSampler(sampler, forced), count)


def read_ahead(prompt: ARPrompt, tokens: torch.Tensor) -> ARPrompt:
    """The prompt with its first tokens already written. tokens: [count] int64"""
    count = len(tokens)
    return replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, tokens[None]], dim=1),
        attention_mask=torch.nn.functional.pad(prompt.attention_mask, (0, count), value=1),
        prefill_positions=torch.cat([prompt.prefill_positions, prompt.decode_positions[..., :count]], dim=-1),
        decode_positions=prompt.decode_positions[..., count:],
    )


def forced_tokens(ids: Sequence[int], anew: Sequence[bool], device: torch.device) -> Forced:
    """Both as tensors on the model's device."""
    return Forced(torch.tensor(ids, device=device), torch.tensor(anew))
