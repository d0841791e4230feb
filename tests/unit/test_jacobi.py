"""Jacobi decoding draws from the very law one-by-one drawing has: counted on chains whose law is known."""

from __future__ import annotations

import pytest
import torch

from glmimg.ar import jacobi
from glmimg.ar.decode_loop import TextDecoder, write_tokens
from glmimg.ar.guess import Guesser
from glmimg.ar.jacobi import write_jacobi
from glmimg.ar.sampling import TokenSampler
from glmimg.ar.window import REST, Window
from glmimg.grid import GridShape
from tests.jobs import make_sampling

CODES, VOCABULARY = 4, 5
"""One id more than there are codes: the chain loves it, the guard strikes it."""

SHAPES = [GridShape(20, 50), GridShape(300, 330)]
"""100,000 tokens in two grids."""


class Chain(TextDecoder):
    """A model of which every law is known: the next token depends on the last two, by a table."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table
        self.first_logits = table[:1, 0]
        self.history = [0]
        self.reading: list[int] = []

    def read(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        assert index == len(self.history) - 1
        self.reading = tokens[0].tolist()
        before = torch.tensor([self.history[-1], *self.reading[:-1]])
        return self.table[before, tokens[0]][None]

    def keep(self, count: int) -> None:
        self.history += self.reading[:count]

    def step(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        logits = self.read(tokens, index)
        self.keep(1)
        return logits


def table(sharpness: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    logits = sharpness * torch.randn(CODES, CODES, VOCABULARY, generator=generator)
    logits[..., CODES] = logits.amax(-1)
    return logits


def sampler(seed: int) -> TokenSampler:
    return TokenSampler(make_sampling(), [torch.Generator().manual_seed(seed)], CODES)


def run(chain: Chain, shapes: list[GridShape], limit: int, seed: int = 1) -> tuple[list[int], int]:
    """Tokens, and forward passes it took."""
    count = sum(shape.cells for shape in shapes)
    pieces = list(write_jacobi(chain, sampler(seed), Guesser(shapes), Window(limit), count))
    return torch.cat(pieces, dim=1)[0].tolist(), len(pieces)


def p_value(tokens: list[int], logits: torch.Tensor) -> float:
    """Chi-square over every (last two, next) against the chain's law: odds of a deviation this large."""
    law = logits[..., :CODES].double().softmax(-1)
    history = torch.tensor([0, *tokens])
    states = history[:-2] * CODES + history[1:-1]
    counts = torch.bincount(states * CODES + history[2:], minlength=CODES**3).view(-1, CODES).double()
    expected = counts.sum(-1, keepdim=True) * law.view(-1, CODES)
    statistic = ((counts - expected) ** 2 / expected)[expected > 5].sum()
    freedom = CODES**2 * (CODES - 1)
    return float(torch.special.gammaincc(torch.tensor(freedom / 2), statistic / 2))


def test_a_hundred_thousand_draws_have_the_law_of_the_chain() -> None:
    logits = table(1.0)
    with torch.inference_mode():
        tokens, passes = run(Chain(logits), SHAPES, limit=8)
    assert len(tokens) == 100_000
    assert passes < 75_000, "or nothing was tested"
    assert p_value(tokens, logits) > 1e-4


def test_the_count_would_see_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a refused token from p instead of the rest of p is the classic mistake."""
    monkeypatch.setattr(jacobi, "_draw_rest", lambda law, draft_law, judge: torch.multinomial(law, 1)[0])
    logits = table(1.0)
    tokens, _ = run(Chain(logits), [GridShape(100, 200)], limit=8)
    assert p_value(tokens, logits) < 1e-6


def test_a_window_of_one_is_one_by_one_drawing() -> None:
    logits = table(1.0)
    tokens, passes = run(Chain(logits), [GridShape(10, 20)], limit=1)
    assert passes == 200
    assert tokens == torch.cat(list(write_tokens(Chain(logits), sampler(1), 200))).tolist()


def places_read(logits: torch.Tensor, codes: int) -> list[int]:
    """How many places each pass looked at, for 1,000 tokens."""
    chain, sizes = Chain(logits), []
    read = chain.read

    def count_and_read(tokens: torch.Tensor, index: int) -> torch.Tensor:
        sizes.append(tokens.shape[1])
        return read(tokens, index)

    chain.read = count_and_read  # type: ignore[method-assign]
    stream = TokenSampler(make_sampling(), [torch.Generator().manual_seed(1)], codes)
    shapes = [GridShape(20, 50)]
    assert sum(piece.shape[1] for piece in write_jacobi(chain, stream, Guesser(shapes), Window(16), 1000)) == 1000
    return sizes


def test_flat_regions_take_few_passes() -> None:
    logits = 20.0 * torch.eye(CODES).expand(CODES, CODES, CODES)
    assert len(places_read(logits, CODES)) < 150


def test_where_nothing_can_be_guessed_drafting_stops() -> None:
    """64 codes, each law another and none flat: hardly more than one token a pass is to be had."""
    logits = 3.0 * torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(2))
    sizes = places_read(logits, 64)
    assert len(sizes) > 800
    assert sizes.count(1) > 0.6 * len(sizes)


def test_the_window_shrinks_rests_and_tries_again() -> None:
    window = Window(32)
    while window.size > 1:
        window.learn(1)
    for _ in range(REST):
        assert window.size == 1
        window.learn(1)
    assert window.size > 1
    for _ in range(40):
        window.learn(window.size)
    assert window.size == 32
    assert Window(1).size == 1


def test_guesses_come_from_neighbours_and_from_the_preview() -> None:
    """Target cells of a 2x2 preview of 4x4 cells; the target repeats what the preview says, as code + 10."""
    guesser = Guesser([GridShape(2, 2), GridShape(4, 4)])
    preview = [1, 2, 3, 4]
    target = [11, 11, 12, 12, 11, 11, 12, 12, 13, 13, 14, 14, 13, 13, 14, 14]
    cells = [guesser._look(range(place))[1] for place in range(4, 20)]
    assert cells == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
    guesser.learn([], preview)
    guesser.learn(preview, target[:12])
    assert guesser.guess([*preview, *target[:12]], [13], 4) == [13, 13, 14, 14], "the preview's codes say it"
    assert guesser.guess([*preview, *target[:12]], [99], 4)[0] == 99, "a draft stands as it is"
    assert guesser.left_in_grid(0) == 4
    assert guesser.left_in_grid(5) == 15


def test_what_stood_between_the_same_neighbours_stands_there_again() -> None:
    guesser = Guesser([GridShape(4, 4)])
    rows = [1, 1, 2, 1, 1, 1, 2, 1]
    guesser.learn([], rows)
    assert guesser.guess(rows, [], 4) == [1, 1, 2, 1]
    assert Guesser([GridShape(2, 2)]).guess([], [], 2) == [0, 0], "nothing is known yet"
