"""Jacobi decoding: many tokens per forward pass, with the same result as sequential decoding.

Every place has its random numbers beforehand, those of the race its token wins (see `sampling`). Given them a token
is a function of the tokens before it, and a row is the one fixed point of that function, whatever was guessed on the
way. A pass reads the last finished token and a window of drafts, and runs the race of every place under the law just
computed. Up to the first place where something else wins than was drafted, the winners stand behind right tokens,
so they are finished. The winners behind become the next drafts: their places keep their random numbers, so a draft
changes only as far as its law does, and a window that settles stays settled.

The law of the tokens is therefore that of one-by-one drawing, and so are the tokens themselves, but for rounding: a
pass over many tokens rounds otherwise than one over a single token, which turns about one race in a million.
source: Song et al., "Accelerating feedforward computation via parallel nonlinear equation solving", 2021; Teng et al.,
"Accelerating auto-regressive text-to-image generation with training-free speculative Jacobi decoding", 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, takewhile

import torch

from glmimg.ar.decode_loop import TextDecoder
from glmimg.ar.sampling import Recital
from glmimg.grid import GridShape

MAX_WINDOW = 96
"""On the demo 32, 64, 96, 128 places took 0.10, 0.08, 0.07, 0.07 passes a token."""

MEMORY = 0.94
"""Weight of the past in the running mean of tokens a pass: a mean of few passes would give up at every edge."""

REACH = 10.0
"""Places looked at for each token a pass is expected to finish: what lies ahead settles meanwhile. Rows of a batch look
less far, since they share the pass."""

WORTH_IT = 1.7
"""Tokens per pass below which drafting costs more than it gains."""

REST = 40
"""Passes without drafts, if drafts do not pay off, before a few are tried again."""

HOPE, TRY = 8.0, 2.0
"""Tokens per pass assumed at the start, and after passes without drafts."""

NOTHING = -1
"""Beyond the edge of a grid."""


class Window:
    """How many positions a pass should look at, from 1 (no drafts) to `limit`: as many as pay off.

    The choice depends only on what was finished so far, never on a clock, so that a seed gives the same
    tokens on a busy machine.
    rows: that share the pass
    """

    def __init__(self, limit: int = MAX_WINDOW, rows: int = 1) -> None:
        self.limit, self.reach = limit, REACH / rows**0.5
        self.mean = HOPE
        self.resting = 0

    @property
    def size(self) -> int:
        """Positions of the next pass: the one that is certainly finished, and drafts after it."""
        return 1 if self.resting else min(self.limit, max(2, round(self.reach * self.mean)))

    def learn(self, finished: int) -> None:
        if self.resting:
            self.resting -= 1
            self.mean = TRY
            return
        self.mean = MEMORY * self.mean + (1 - MEMORY) * finished
        if self.mean < WORTH_IT:
            self.resting = REST


class Guesser:
    """Guesses tokens before the model has computed anything about them.

    A cell mostly repeats what stood between the same neighbours before, and the preview grid has already said what
    stands where, in codes of its own scale. Both are learnt while the grids are being written.
    shapes: of the grids; the last one's guesses may look at the first one's cells
    seen:   the token that last stood between neighbours, by where the grid starts and what they were
    map:    the token that last stood where the preview has a code, by that code
    """

    def __init__(self, shapes: Sequence[GridShape]) -> None:
        self.shapes = list(shapes)
        self.seen: dict[tuple[int, ...], int] = {}
        self.map: dict[int | None, int] = {}

    def guess(self, known: Sequence[int]) -> int:
        """What may follow the known tokens: as between these neighbours before, as for this preview code, or an edge
        going on."""
        around, code = self._look(known)
        if around in self.seen:
            return self.seen[around]
        if code in self.map:
            return self.map[code]
        _, left, corner, above, _ = around
        if NOTHING in (left, above):
            return max(left, above, 0)
        return left if above == corner else above

    def learn(self, known: list[int], told: Sequence[int]) -> None:
        """Append `told` to the known tokens and learn from them."""
        for token in told:
            around, code = self._look(known)
            self.seen[around] = token
            if code is not None:
                self.map[code] = token
            known.append(token)

    def _look(self, known: Sequence[int]) -> tuple[tuple[int, ...], int | None]:
        """The known neighbours of the next position, and the preview's code there; None within the preview itself.

        Around it: where its grid starts, and the tokens left, above left, above and above right of it.
        """
        end = next(end for end in accumulate(shape.cells for shape in self.shapes) if len(known) < end)
        grid, preview = self.shapes[0 if end == self.shapes[0].cells else -1], self.shapes[0]
        start = end - grid.cells
        row, column = divmod(len(known) - start, grid.columns)

        def at(row: int, column: int) -> int:
            return known[start + row * grid.columns + column] if row >= 0 and 0 <= column < grid.columns else NOTHING

        above = (2 * row + 1) * preview.rows // (2 * grid.rows)
        left = (2 * column + 1) * preview.columns // (2 * grid.columns)
        code = known[above * preview.columns + left] if start else None
        return (start, at(row, column - 1), at(row - 1, column - 1), at(row - 1, column), at(row - 1, column + 1)), code


class Row:
    """One row of a batch under way.

    recital:  what draws its tokens, and which are known beforehand
    finished: tokens that stand, with those that were read with the prompt
    """

    def __init__(self, recital: Recital, guesser: Guesser, window: Window, finished: Sequence[int] = ()) -> None:
        self.recital, self.guesser, self.window = recital, guesser, window
        self.finished: list[int] = []
        self.drafts: list[int] = []
        self.noise: list[torch.Tensor] = []  # of the places behind the finished tokens, [vocabulary] each
        guesser.learn(self.finished, finished)

    def look_ahead(self, end: int, like: torch.Tensor) -> list[int]:
        """Drafts of the next pass, at most up to token number `end`. like: any [vocabulary] logits"""
        line, place = self.finished, len(self.finished)
        size = min(self.window.size, end - place)
        while len(self.noise) < size:
            self.noise.append(self.recital.noise(place + len(self.noise), like))
        line += self.drafts[: size - 1]
        while len(line) < place + size - 1:
            known = self.recital.known_at(len(line))
            line.append(self.guesser.guess(line) if known is None else known)
        drafts = line[place:]
        del line[place:]
        return drafts

    def settle(self, drafts: Sequence[int], logits: torch.Tensor) -> int:
        """Take in the logits of the drafts' places and of the one behind, [count + 1, vocabulary].

        returns: how many tokens are finished by them, at least 1
        """
        raced = self.recital.race(len(self.finished), logits, torch.stack(self.noise[: len(logits)]))
        right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(drafts, raced, strict=False)))
        told, self.drafts = raced[: right + 1], raced[right + 1 :]
        del self.noise[: len(told)]
        self.guesser.learn(self.finished, told)
        self.window.learn(len(told))
        return len(told)


def write_jacobi(
    decoder: TextDecoder, rows: Sequence[Row], end: int, *, goes_on: bool = False
) -> Iterator[torch.Tensor]:
    """Write every row up to token number `end`, windows side by side.

    goes_on: whether the decoder has read all but the last finished token of each row one after the other
    Yields after each forward pass the tokens that are now finished in all rows, [rows, 0 or more] int64.
    """
    device, written = decoder.first_logits.device, len(rows[0].finished)
    start = 0 if goes_on else written
    for row, logits in zip(rows, () if goes_on else decoder.first_logits, strict=not goes_on):
        row.look_ahead(start + 1, logits)
        row.settle((), logits[None])
    while True:
        ready = min(len(row.finished) for row in rows)
        if not goes_on:
            yield torch.tensor([row.finished[written:ready] for row in rows], dtype=torch.int64, device=device)
        goes_on, written = False, ready
        under_way = [number for number, row in enumerate(rows) if len(row.finished) < end]
        if not under_way:
            return
        active = [rows[number] for number in under_way]
        drafts = [row.look_ahead(end, decoder.first_logits[0]) for row in active]
        longest = max(map(len, drafts))
        tokens = [
            [row.finished[-1], *ahead, *[0] * (longest - len(ahead))] for row, ahead in zip(active, drafts, strict=True)
        ]
        places = [len(row.finished) - 1 - start for row in active]
        logits = decoder.read(torch.tensor(tokens, device=device), under_way, places)
        told = [
            row.settle(ahead, each[: len(ahead) + 1]) for row, ahead, each in zip(active, drafts, logits, strict=True)
        ]
        decoder.keep(under_way, told)
