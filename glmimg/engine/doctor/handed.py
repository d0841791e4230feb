"""Both stages with the host's random numbers: a card's own generator gives others, and then nothing could be compared.

Stage 1 can also be told its tokens. What it then says of each next one is comparable in any precision, where drawn
tokens part at the first race that rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from glmimg.ar.decode_loop import Decoder, TextDecoder
from glmimg.ar.prompt import ARPrompt, Grids
from glmimg.ar.sampling import TokenSampler
from glmimg.ar.stage import ARStage
from glmimg.ar.static_decoder import StaticDecoder
from glmimg.dit.stage import DiTStage
from glmimg.job import Job, Painting, Scene
from glmimg.tokens.dump import TokenDump

SEED = 1
"""Of the noise that stage 2 begins with."""


class HandedTokens(ARStage):
    """Stage 1, its races run with the host's numbers."""

    def _sampler(self, jobs: Sequence[Job], grids: Grids) -> TokenSampler:
        sampler = super()._sampler(jobs, grids)
        sampler.generators = [torch.Generator().manual_seed(job.sampling.seed) for job in jobs]
        return sampler

    is_static = False
    """Whether the pass of one shape is taken, also where it would not be; on CUDA that is a captured graph."""

    def _decoder(self, prompts: Sequence[ARPrompt], new_tokens: int, read: Sequence[DynamicCache] = ()) -> Decoder:
        if not self.is_static:
            return super()._decoder(prompts, new_tokens, read)
        decoder = StaticDecoder(self.model, compile=False)
        decoder.start(prompts, new_tokens, read)
        return decoder

    @torch.inference_mode()
    def logits(self, scene: Scene, tokens: Sequence[int]) -> torch.Tensor:
        """What the pass says of each token after those before it, [count, vocabulary]. tokens: of both grids"""
        (prompt,) = self._read_prompts([scene])
        known, decoder = self._told(tokens), self._decoder([prompt], len(tokens))
        said = [decoder.first_logits.float().cpu()]
        for index in range(len(tokens) - 1):
            said.append(decoder.step(known[:, index : index + 1], index)[:, -1].float().cpu())
        return torch.cat(said)

    @torch.inference_mode()
    def logits_by_windows(self, scene: Scene, tokens: Sequence[int], size: int) -> torch.Tensor:
        """The same as Jacobi decoding reads them: so many tokens a pass, of which the next pass keeps all."""
        (prompt,) = self._read_prompts([scene])
        decoder, known = TextDecoder(self.model, [prompt], len(tokens), together=True), self._told(tokens)

        def read() -> Iterator[torch.Tensor]:
            yield decoder.first_logits.float().cpu()
            for start in range(0, len(tokens) - 1, size):
                window = known[:, start : min(start + size, len(tokens) - 1)]
                yield decoder.read(window, [0], [start])[0].float().cpu()
                decoder.keep([0], [window.shape[1]])

        return torch.cat(list(read()))

    def _told(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor([tokens], device=self.model.device)


class HandedPainter(DiTStage):
    """Stage 2, beginning with the host's noise."""

    def noise(self, dump: TokenDump, painting: Painting) -> torch.Tensor:
        shape, placement = self.parts.latent_shape(dump.height, dump.width), self.parts.placement
        stream = torch.Generator().manual_seed(SEED)
        return torch.randn(shape, generator=stream).to(placement.device, placement.dtype)
