"""Speculative Jacobi decoding: many tokens a forward pass, drawn from the law one-by-one drawing has.

A pass reads the last finished token and a window of drafts behind it, and yields the law of every
place in the window. Drafts are then judged from the left as in speculative sampling: kept with
probability min(1, p / q), where q is the law the draft was drawn from; the first refused one is
drawn again from the rest, max(0, p - q), and everything behind it is drafted anew from the laws
just computed. At least one token a pass is finished, so with a window of 1 this is `write_tokens`.

What is added to the published scheme: a place keeps its random numbers (its exponential race) from
pass to pass, so a draft changes only as far as its law does, and a window that settles stays settled.
That changes nothing in the law of the tokens: a place is judged by laws that depend on the random
numbers of places before it only, so given those, a draft still has the law q.
source: Teng et al., "Accelerating auto-regressive text-to-image generation with training-free speculative
Jacobi decoding", 2024; Leviathan et al., "Fast inference from transformers via speculative decoding", 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from glmimg.ar.decode_loop import TextDecoder
from glmimg.ar.guess import Guesser
from glmimg.ar.sampling import TokenSampler
from glmimg.ar.window import Window

OTHER_STREAM = 0x9E3779B97F4A7C15
"""Added to a seed for the random numbers of judging, which one-by-one drawing has no use for."""


@dataclass(frozen=True)
class Drafts:
    """Tokens supposed to follow the finished ones, in order.

    tokens: [count] int64
    laws:   [count, codebook], the distribution each was drawn from (all on one id for a guess)
    noise:  [at least count, codebook], the random numbers of these places, and of places behind them
    """

    tokens: torch.Tensor
    laws: torch.Tensor
    noise: torch.Tensor


def write_jacobi(
    decoder: TextDecoder,
    sampler: TokenSampler,
    guesser: Guesser,
    window: Window,
    new_tokens: int,
    begun: Sequence[int] = (),
) -> Iterator[torch.Tensor]:
    """Yield the visual tokens of one row, as many as each forward pass finished, [1, count] int64.

    begun: tokens known from an earlier run of the same seed, which was stopped
    """
    stream = sampler.generators[0]
    judge = torch.Generator(stream.device).manual_seed((stream.initial_seed() + OTHER_STREAM) % (1 << 63))
    first = sampler.draw(decoder.first_logits)[:, None]
    if begun:
        first[:] = begun[0]
    yield first
    finished = first[0].tolist()
    drafts = _no_drafts(sampler, first.device)
    while (count := len(finished)) < new_tokens:
        size = min(window.size, guesser.left_in_grid(count))  # a run that stops after a grid must not differ
        drafts = _fill_up(drafts, size, guesser.guess(finished, drafts.tokens.tolist(), size - 1), sampler, decoder)
        tokens = torch.cat((torch.tensor(finished[-1:], device=first.device), drafts.tokens))
        logits = decoder.read(tokens[None], count - 1)[0]
        sampler.finite.look(logits, count + 1)
        laws = sampler.law(logits)
        done, following = judge_drafts(laws, drafts, judge)
        told = done.tolist()
        for place, token in enumerate(begun[count : count + len(told)]):
            if token != told[place]:  # it was another one the first time: nothing drafted behind it holds
                told[place:] = [token]
                done = torch.tensor(told, device=first.device)
                following = replace(_no_drafts(sampler, first.device), noise=drafts.noise[len(told) :])
                break
        drafts = following
        decoder.keep(len(told))
        guesser.learn(finished, told)
        window.learn(len(told))
        finished += told
        yield done[None]


def judge_drafts(laws: torch.Tensor, drafts: Drafts, judge: torch.Generator) -> tuple[torch.Tensor, Drafts]:
    """Keep what may be kept, draw the next token, and draft the rest anew.

    laws:    [count + 1, codebook], of the places of the drafts and of the place behind them
    returns: the finished tokens, [1 to count + 1]; drafts for the places behind them
    """
    size = len(laws)
    raced = (laws / drafts.noise[:size]).argmax(-1)
    places = torch.arange(size - 1, device=laws.device)
    p, q = laws[places, drafts.tokens], drafts.laws[places, drafts.tokens]
    chance = torch.rand(size - 1, generator=judge, device=laws.device)
    kept = int((chance * q < p).long().cumprod(0).sum())
    if kept < size - 1:
        raced[kept] = _draw_rest(laws[kept], drafts.laws[kept], judge)
    done = torch.cat((drafts.tokens[:kept], raced[kept : kept + 1]))
    return done, Drafts(raced[kept + 1 :], laws[kept + 1 :], drafts.noise[kept + 1 :])


def _draw_rest(law: torch.Tensor, draft_law: torch.Tensor, judge: torch.Generator) -> torch.Tensor:
    """One id from max(0, p - q); from p if rounding has left nothing of that."""
    rest = (law - draft_law).clamp_(min=0)
    rest = torch.where(rest.sum() > 0, rest, law)
    return (rest / torch.empty_like(rest).exponential_(1, generator=judge)).argmax()


def _fill_up(drafts: Drafts, size: int, guesses: Sequence[int], sampler: TokenSampler, decoder: TextDecoder) -> Drafts:
    """`size - 1` drafts, guesses where none is left from the last pass, and `size` places' random numbers."""
    codebook, device = sampler.codebook_size, drafts.tokens.device
    noise = [drafts.noise]
    noise += [sampler.noise(decoder.first_logits)[:, :codebook] for _ in range(size - len(drafts.noise))]
    left = min(len(drafts.tokens), size - 1)
    new = torch.tensor(list(guesses)[left:], dtype=torch.int64, device=device)
    certain = torch.zeros(len(new), codebook, device=device)
    certain[torch.arange(len(new), device=device), new] = 1.0
    return Drafts(torch.cat((drafts.tokens[:left], new)), torch.cat((drafts.laws[:left], certain)), torch.cat(noise))


def _no_drafts(sampler: TokenSampler, device: torch.device) -> Drafts:
    nothing = torch.empty(0, sampler.codebook_size, device=device)
    return Drafts(torch.empty(0, dtype=torch.int64, device=device), nothing, nothing)
