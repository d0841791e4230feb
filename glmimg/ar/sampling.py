"""From logits to the next visual token.

The order of the steps and their arithmetic are those of transformers' `generate`, so that a seed
gives the same token. The draw is the exponential race `torch.multinomial` uses for one sample:
argmax of p / q with q ~ Exp(1). Ids outside the codebook are struck out after the race is set up,
which leaves the winner as it was whenever the winner is a valid code, and otherwise gives the
best valid one: the guard costs nothing and changes nothing that was right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import torch

from glmimg.job import Sampling
from glmimg.runtime.finite import FiniteCheck

ENOUGH = 64
"""Likeliest ids that hold a whole nucleus as a rule; laws that are flatter are sorted in full."""

EDGE = 1e-3
"""More than float32 can be wrong by when it sums the weights of 16,512 ids, one after the other."""


class TokenSampler:
    """Draws codes for the rows of a batch, each row from its own random stream.

    generators:    one a row, on the device of the logits
    describe:      what a token is called in the message that its logits are not finite, by its number from 1
    codebook_size: ids >= it are never returned
    suppressed:    ids the checkpoint's generation_config forbids before sampling
    """

    def __init__(
        self,
        sampling: Sampling,
        generators: Sequence[torch.Generator],
        codebook_size: int,
        suppressed: Sequence[int] = (),
        describe: Callable[[int], str] = "the logits of token {}".format,
    ) -> None:
        self.sampling = sampling
        self.generators = generators
        self.codebook_size = codebook_size
        self.suppressed = torch.tensor(list(suppressed), dtype=torch.int64, device=generators[0].device)
        self.finite = FiniteCheck(describe)
        self.drawn = 0

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row.

        logits:  [rows, vocabulary], any float dtype
        returns: [rows], int64, each in [0, codebook_size)
        raises:  NotFinite (exit 1) for logits that are not numbers; on an accelerator `finite` tells at the end
        """
        self.drawn += 1
        self.finite.look(logits, self.drawn)
        return self.race(logits, self.noise(logits))

    def race(self, logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Who wins under the laws of these logits with these random numbers: [any, vocabulary] each to [any], int64."""
        scores = logits.to(torch.float32)
        if len(self.suppressed):
            scores = scores.index_fill(-1, self.suppressed, -torch.inf)
        race = warp(scores, self.sampling).softmax(-1).div_(noise)[:, : self.codebook_size]
        lead, winners = race.max(-1)
        if _host_can_look(race) and lead.amin() > 0:
            return winners
        # The nucleus of such a row holds no valid code at all: take the nucleus of the valid ones.
        valid = warp(scores[:, : self.codebook_size], self.sampling).softmax(-1)
        return torch.where(lead > 0, winners, (valid / noise[:, : self.codebook_size]).argmax(-1))

    def noise(self, like: torch.Tensor) -> torch.Tensor:
        """The random numbers of the next token: Exp(1) of the shape of `like`, [rows, vocabulary], float32."""
        noise = torch.empty(like.shape, dtype=torch.float32, device=self.generators[0].device)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(1, generator=generator)
        return noise.to(like.device)

    def split(self) -> list[TokenSampler]:
        """A sampler for each row by itself."""
        alone = [copy(self) for _ in self.generators]
        for sampler, generator in zip(alone, self.generators, strict=True):
            sampler.generators = [generator]
        return alone


class Recital:
    """A sampler that says known tokens as they are, and draws the others.

    known:        [rows, count] int64, the first tokens of each row
    anew:         for each of them, whether it is drawn all the same
    stream_moves: whether a known token uses up its random numbers, as it did when it was drawn
    """

    def __init__(self, sampler: TokenSampler, known: torch.Tensor, anew: Sequence[bool], *, stream_moves: bool) -> None:
        self.sampler, self.known, self.anew, self.stream_moves = sampler, known, anew, stream_moves
        self.first_row: list[int] = known[0].tolist()

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """See `TokenSampler.draw`."""
        number = self.sampler.drawn
        if not self._is_known(number):
            return self.sampler.draw(logits)
        self.sampler.drawn += 1
        if self.stream_moves:
            self.sampler.noise(logits)
        return self.known[:, number]

    def split(self) -> list[Recital]:
        """A recital for each row by itself."""
        each = zip(self.sampler.split(), self.known[:, None], strict=True)
        return [Recital(sampler, known, self.anew, stream_moves=self.stream_moves) for sampler, known in each]

    def known_at(self, number: int) -> int | None:
        """The known token of a place of the only row."""
        return self.first_row[number] if self._is_known(number) else None

    def noise(self, number: int, like: torch.Tensor) -> torch.Tensor:
        """The random numbers of the next place of the only row, of the shape of `like`, [vocabulary]."""
        if self._is_known(number) and not self.stream_moves:
            return torch.ones_like(like, dtype=torch.float32)
        return self.sampler.noise(like[None])[0]

    def race(self, number: int, logits: torch.Tensor, noise: torch.Tensor) -> list[int]:
        """Tokens of the only row from place `number` on; as `TokenSampler.race` where they are not known."""
        self.sampler.finite.look(logits, number + 1)
        raced = self.sampler.race(logits, noise).tolist()
        known = [self.known_at(number + index) for index in range(len(raced))]
        return [token if told is None else told for token, told in zip(raced, known, strict=True)]

    def _is_known(self, number: int) -> bool:
        return number < len(self.anew) and not self.anew[number]


def warp(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Temperature, top-k, nucleus, in the order of `generate`; refused ids become -inf.

    scores: [rows, ids], float32
    source: transformers, `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper`
    """
    if sampling.temperature != 1.0:
        scores = scores / sampling.temperature
    if sampling.top_k is not None and 0 < sampling.top_k < scores.shape[-1]:
        threshold = scores.topk(sampling.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < threshold, -torch.inf)
    if sampling.top_p < 1.0:
        scores = keep_nucleus(scores, sampling.top_p)
    return scores


def keep_nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Scores, [rows, ids], with all but the likeliest ids that weigh `top_p` together at -inf.

    `generate` sorts every id. Where the host can look, the few likeliest are looked at first: an id is in if those
    before it, in falling order, weigh less than top_p. That settles a row unless `generate`'s sums might round to the
    other side: a weight is within `EDGE` of top_p, ids of one score lie on both sides of the edge, or the edge is
    beyond the ids looked at.
    """
    if not _host_can_look(scores):
        return _keep_nucleus_by_sorting(scores, top_p)
    likeliest, order = scores.topk(min(ENOUGH, scores.shape[-1]))
    weights = (likeliest - scores.logsumexp(-1, keepdim=True)).exp()
    before = weights.cumsum(-1) - weights
    kept = before < top_p
    last = kept.sum(-1, keepdim=True) - 1
    beyond = (last + 1).clamp(max=likeliest.shape[-1] - 1)
    settled = (before - top_p).abs().amin(-1) > EDGE
    settled &= (likeliest.gather(1, last) > likeliest.gather(1, beyond))[:, 0]
    nucleus = torch.full_like(scores, -torch.inf).scatter_(1, order, likeliest.masked_fill(~kept, -torch.inf))
    for row in (~settled).nonzero().flatten().tolist():
        nucleus[row] = _keep_nucleus_by_sorting(scores[row : row + 1], top_p)[0]
    return nucleus


def _keep_nucleus_by_sorting(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """source: transformers, `TopPLogitsWarper`, step by step."""
    ascending, order = scores.sort(descending=False)
    refused = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    refused[:, -1] = False
    return scores.masked_fill(refused.scatter(1, order, refused), -torch.inf)


def _host_can_look(tensor: torch.Tensor) -> bool:
    """On the CPU looking at a value is free; on an accelerator it would stall the queue."""
    return tensor.device.type == "cpu"
