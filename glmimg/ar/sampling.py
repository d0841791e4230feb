"""From logits to the next visual token.

The order of the steps and their arithmetic are those of transformers' `generate`, so that a seed
gives the same token. The draw is the exponential race `torch.multinomial` uses for one sample:
argmax of p / q with q ~ Exp(1). Ids outside the codebook are struck out after the race is set up,
which leaves the winner as it was whenever the winner is a valid code, and otherwise gives the
best valid one: the guard costs nothing and changes nothing that was right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from glmimg.job import Sampling


class TokenSampler:
    """Draws codes for the rows of a batch, each row from its own random stream.

    generators:    one a row, on the device of the logits
    codebook_size: ids >= it are never returned
    suppressed:    ids the checkpoint's generation_config forbids before sampling
    """

    def __init__(
        self,
        sampling: Sampling,
        generators: Sequence[torch.Generator],
        codebook_size: int,
        suppressed: Sequence[int] = (),
    ) -> None:
        self.sampling = sampling
        self.generators = generators
        self.codebook_size = codebook_size
        self.suppressed = list(suppressed)

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row.

        logits:  [rows, vocabulary], any float dtype
        returns: [rows], int64, each in [0, codebook_size)
        """
        scores = logits.to(torch.float32, copy=True)
        scores[:, self.suppressed] = -torch.inf
        noise = self._exponential_noise(scores)
        race = warp(scores, self.sampling).softmax(-1).div_(noise)[:, : self.codebook_size]
        winners = race.argmax(-1)
        if _host_can_look(race) and race.amax() > 0:
            return winners
        return torch.where(race.amax(-1) > 0, winners, self._draw_valid_only(scores, noise))

    def _draw_valid_only(self, scores: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """For rows whose nucleus holds no valid code at all: the nucleus of the valid ones."""
        valid = warp(scores[:, : self.codebook_size], self.sampling).softmax(-1)
        return (valid / noise[:, : self.codebook_size]).argmax(-1)

    def _exponential_noise(self, like: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(like)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(1, generator=generator)
        return noise


def warp(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Temperature, top-k, nucleus, in the order of `generate`; refused ids become -inf.

    scores:  [rows, ids], float32
    source:  transformers, `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper`
    """
    if sampling.temperature != 1.0:
        scores = scores / sampling.temperature
    if sampling.top_k is not None and 0 < sampling.top_k < scores.shape[-1]:
        threshold = scores.topk(sampling.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < threshold, -torch.inf)
    if sampling.top_p < 1.0:
        ascending, order = scores.sort(descending=False)
        refused = ascending.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        refused[:, -1] = False
        scores = scores.masked_fill(refused.scatter(1, order, refused), -torch.inf)
    return scores


def _host_can_look(tensor: torch.Tensor) -> bool:
    """On the CPU looking at a value is free; on an accelerator it would stall the queue."""
    return tensor.device.type == "cpu"
