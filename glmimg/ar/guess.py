"""First drafts of a Jacobi window: what a token might be before the model has said anything about it.

Neighbouring cells of flat regions are alike, and the preview grid has already said what stands where,
in codes of its own scale. Which of these guesses is best is counted while the grid is being written.
"""

from __future__ import annotations

from collections.abc import Sequence

from glmimg.tokens.grid import GridShape

FORGET = 0.95
"""Weight of the past in a source's hit rate, token by token."""


class Guesser:
    """Guesses tokens of grids written one after the other, in the order of writing.

    shapes: of the grids; the last one's guesses may look at the first one's cells
    """

    SOURCES = ("left", "above", "preview", "map")

    def __init__(self, shapes: Sequence[GridShape]) -> None:
        self.shapes = list(shapes)
        self.hits = dict.fromkeys(self.SOURCES, 0.0) | {"above": 0.01}
        self.map: dict[int, int] = {}

    @property
    def best(self) -> str:
        """The source that was right most often of late."""
        return max(self.hits, key=lambda source: self.hits[source])

    def left_in_grid(self, place: int) -> int:
        """Cells from a place to the end of the grid it is in, itself included."""
        grid, start = self._grid(place)
        return start + grid.cells - place

    def guess(self, finished: Sequence[int], drafts: Sequence[int], count: int) -> list[int]:
        """Drafts for the `count` places behind the finished tokens; the first ones are `drafts` as they are."""
        known = [*finished, *drafts[:count]]
        best = self.best
        while len(known) < len(finished) + count:
            known.append(self._from(best, known, len(known)))
        return known[len(finished) :]

    def learn(self, finished: Sequence[int], told: Sequence[int]) -> None:
        """Take in that `told` follow the finished tokens: which sources would have guessed them?"""
        known = list(finished)
        for token in told:
            place = len(known)
            for source in self.SOURCES:
                hit = self._from(source, known, place) == token
                self.hits[source] = FORGET * self.hits[source] + (1 - FORGET) * hit
            if (cell := self._preview_cell(place)) is not None:
                self.map[known[cell]] = token
            known.append(token)

    def _from(self, source: str, known: Sequence[int], place: int) -> int:
        """What `source` makes of place number `place`; something near it where the source says nothing."""
        grid, start = self._grid(place)
        above = place - grid.columns
        cell = self._preview_cell(place)
        if source == "above" and above >= start:
            return known[above]
        if source == "preview" and cell is not None:
            return known[cell]
        if source == "map" and cell is not None:
            return self.map.get(known[cell], known[place - 1])
        return known[place - 1] if place else 0

    def _grid(self, place: int) -> tuple[GridShape, int]:
        """The grid a place is in, and the place it starts at."""
        start = 0
        for shape in self.shapes:
            if place < start + shape.cells:
                return shape, start
            start += shape.cells
        raise IndexError(place)

    def _preview_cell(self, place: int) -> int | None:
        """The preview cell that covers the middle of a target cell; None within the preview itself."""
        grid, start = self._grid(place)
        if start == 0:
            return None
        preview = self.shapes[0]
        row, column = divmod(place - start, grid.columns)
        above = (2 * row + 1) * preview.rows // (2 * grid.rows)
        left = (2 * column + 1) * preview.columns // (2 * grid.columns)
        return above * preview.columns + left
