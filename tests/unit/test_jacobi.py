"""Jacobi decoding draws the very tokens one-by-one drawing has, so also from its law: on chains that are known."""

from __future__ import annotations

import pytest
import torch

from glmimg.ar.decode_loop import TextDecoder, write_tokens
from glmimg.ar.jacobi import REST, Guesser, Row, Window, write_jacobi
from glmimg.ar.sampling import Recital, TokenSampler
from glmimg.grid import GridShape
from tests.jobs import make_sampling

CODES, VOCABULARY = 4, 5
"""One id more than there are codes: the chain loves it, the guard strikes it."""

SHAPES = [GridShape(20, 50), GridShape(300, 330)]
"""100,000 tokens in two grids."""


class Chain(TextDecoder):
    """A model of which every law is known: the next token depends on the last two, by a table."""

    def __init__(self, table: torch.Tensor, rows: int = 1) -> None:
        self.table = table
        self.first_logits = table[:1, 0].repeat(rows, 1)
        self.history = [[0] for _ in range(rows)]
        self.sizes: list[int] = []

    def read(self, tokens, rows, places):  # type: ignore[no-untyped-def]
        assert [len(self.history[row]) - 1 for row in rows] == list(places)
        self.reading = tokens.tolist()
        self.sizes.append(tokens.shape[1])
        before = [[self.history[row][-1], *read[:-1]] for row, read in zip(rows, self.reading, strict=True)]
        return self.table[torch.tensor(before), tokens]

    def keep(self, rows, counts):  # type: ignore[no-untyped-def]
        for row, count, read in zip(rows, counts, self.reading, strict=True):
            self.history[row] += read[:count]

    def step(self, tokens, index):  # type: ignore[no-untyped-def]
        rows = range(len(tokens))
        logits = self.read(tokens, rows, [index] * len(tokens))
        self.keep(rows, [1] * len(tokens))
        return logits


def table(sharpness: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    logits = sharpness * torch.randn(CODES, CODES, VOCABULARY, generator=generator)
    logits[..., CODES] = logits.amax(-1)
    return logits


def recital(seeds: list[int], known: list[int] = (), codes: int = CODES) -> Recital:  # type: ignore[assignment]
    sampler = TokenSampler(make_sampling(), [torch.Generator().manual_seed(seed) for seed in seeds], codes)
    told = torch.tensor([known] * len(seeds), dtype=torch.int64)
    return Recital(sampler, told, [token < 0 for token in known], stream_moves=True)


def run(chain: Chain, shapes: list[GridShape], limit: int, told: Recital) -> tuple[list[list[int]], int]:
    """Tokens of each row, and forward passes it took."""
    count = sum(shape.cells for shape in shapes)
    rows = [Row(each, Guesser(shapes), Window(limit)) for each in told.split()]
    pieces = list(write_jacobi(chain, rows, count))
    return torch.cat(pieces, dim=1).tolist(), len(pieces)


def one_by_one(logits: torch.Tensor, told: Recital, count: int) -> list[list[int]]:
    rows = len(told.sampler.generators)
    return torch.stack(list(write_tokens(Chain(logits, rows), told, count)), dim=1).tolist()


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
        (tokens,), passes = run(Chain(logits), SHAPES, 8, recital([1]))
    assert len(tokens) == 100_000
    assert passes < 75_000, "or nothing was tested"
    assert p_value(tokens, logits) > 1e-4


def reuse_noise(row: Row, drafts: list[int], logits: torch.Tensor) -> int:
    """A classic mistake: the random numbers of finished places serve the next ones again."""
    kept = list(row.noise)
    told = settle(row, drafts, logits)
    row.noise[:0] = kept[: told - 1]
    return told


def finish_one_more(row: Row, drafts: list[int], logits: torch.Tensor) -> int:
    """The other one: a token drawn behind a refused one stands."""
    told = settle(row, drafts, logits)
    if row.drafts and len(row.finished) > 1:
        row.finished.append(row.drafts.pop(0))
        del row.noise[0]
        told += 1
    return told


settle = Row.settle


@pytest.mark.parametrize("mistake", [reuse_noise, finish_one_more])
def test_the_count_would_see_a_wrong_rule(monkeypatch: pytest.MonkeyPatch, mistake: object) -> None:
    monkeypatch.setattr(Row, "settle", mistake)
    logits = table(1.0)
    (tokens,), _ = run(Chain(logits), [GridShape(100, 200)], 8, recital([1]))
    assert p_value(tokens, logits) < 1e-6


@pytest.mark.parametrize("limit", [1, 2, 7, 40])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 4.0])
def test_whatever_the_window_the_tokens_are_those_of_one_by_one_drawing(limit: int, sharpness: float) -> None:
    """Rows side by side that come along unlike fast; the last ones end in windows of their own."""
    logits, shapes, seeds = table(sharpness), [GridShape(4, 5), GridShape(10, 20)], [1, 2, 3]
    tokens, passes = run(Chain(logits, 3), shapes, limit, recital(seeds))
    assert tokens == one_by_one(logits, recital(seeds), 220)
    assert passes == 220 if limit == 1 else passes <= 220


def test_known_tokens_are_said_and_the_others_follow_from_them() -> None:
    logits, known = table(1.0), [3, 1, -1, 2, -1, -1, 0, 0, 3, -1]
    for stream_moves in (True, False):

        def told(known: list[int] = known, moves: bool = stream_moves) -> Recital:
            made = recital([5], known)
            made.stream_moves = moves
            return made

        tokens, _ = run(Chain(logits), [GridShape(5, 8)], 16, told())
        assert tokens == one_by_one(logits, told(), 40)
        assert all(token in (-1, drawn) for token, drawn in zip(known, tokens[0], strict=False))


def places_read(logits: torch.Tensor, codes: int) -> list[int]:
    """How many places each pass looked at, for 1,000 tokens."""
    chain = Chain(logits)
    (tokens,), _ = run(chain, [GridShape(20, 50)], 16, recital([1], codes=codes))
    assert len(tokens) == 1000
    return chain.sizes


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


def follow(guesser: Guesser, known: list[int], count: int) -> list[int]:
    line = list(known)
    while len(line) < len(known) + count:
        line.append(guesser.guess(line))
    return line[len(known) :]


def test_guesses_come_from_neighbours_and_from_the_preview() -> None:
    """Target cells of a 2x2 preview of 4x4 cells; the target repeats what the preview says, as code + 10."""
    guesser = Guesser([GridShape(2, 2), GridShape(4, 4)])
    preview = [1, 2, 3, 4]
    target = [11, 11, 12, 12, 11, 11, 12, 12, 13, 13, 14, 14, 13, 13, 14, 14]
    cells = [guesser._look(range(place))[1] for place in range(4, 20)]
    assert cells == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
    known: list[int] = []
    guesser.learn(known, preview)
    guesser.learn(known, target[:12])
    assert follow(guesser, known, 4) == [13, 13, 14, 14], "the preview's codes say it"


def test_what_stood_between_the_same_neighbours_stands_there_again() -> None:
    guesser = Guesser([GridShape(4, 4)])
    rows = [1, 1, 2, 1, 1, 1, 2, 1]
    guesser.learn([], rows)
    assert follow(guesser, rows, 4) == [1, 1, 2, 1]
    assert follow(Guesser([GridShape(2, 2)]), [], 2) == [0, 0], "nothing is known yet"
