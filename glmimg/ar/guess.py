"""First drafts of a Jacobi window: what a token might be before the model has said anything about it.

A cell mostly repeats what stood between the same neighbours before, and the preview grid has already said
what stands where, in codes of its own scale. Both are learnt while the grids are being written.
"""

from __future__ import annotations

from collections.abc import Sequence

from glmimg.grid import GridShape

NOTHING = -1
"""Beyond the edge of a grid."""


class Guesser:
    """Guesses tokens of grids written one after the other, in the order of writing.

    shapes: of the grids; the last one's guesses may look at the first one's cells
    seen:   the token that last stood between neighbours, by where the grid starts and what they were
    map:    the token that last stood where the preview has a code, by that code
    """

    def __init__(self, shapes: Sequence[GridShape]) -> None:
        self.shapes = list(shapes)
        self.seen: dict[tuple[int, ...], int] = {}
        self.map: dict[int, int] = {}

    def left_in_grid(self, place: int) -> int:
        """Cells from a place to the end of the grid it is in, itself included."""
        grid, start = self._grid(place)
        return start + grid.cells - place

    def guess(self, finished: Sequence[int], drafts: Sequence[int], count: int) -> list[int]:
        """Drafts for the `count` places behind the finished tokens; the first ones are `drafts` as they are."""
        known = [*finished, *drafts[:count]]
        while len(known) < len(finished) + count:
            known.append(self._next(known))
        return known[len(finished) :]

    def learn(self, finished: Sequence[int], told: Sequence[int]) -> None:
        """Take in that `told` follow the finished tokens."""
        known = list(finished)
        for token in told:
            if (cell := self._preview_cell(len(known))) is not None:
                self.map[known[cell]] = token
            self.seen[self._neighbours(known)] = token
            known.append(token)

    def _next(self, known: Sequence[int]) -> int:
        """What may follow: as between these neighbours before, as for this preview code, or an edge going on."""
        around = self._neighbours(known)
        if (token := self.seen.get(around)) is not None:
            return token
        cell = self._preview_cell(len(known))
        if cell is not None and (token := self.map.get(known[cell])) is not None:
            return token
        _, left, corner, above, _ = around
        if NOTHING in (left, above):
            return max(left, above, 0)
        return left if above == corner else above

    def _neighbours(self, known: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Where the grid of the next place starts, and the tokens left, above left, above and above right of it."""
        place = len(known)
        grid, start = self._grid(place)
        row, column = divmod(place - start, grid.columns)
        above = place - grid.columns
        first, last = column == 0, column == grid.columns - 1
        return (
            start,
            NOTHING if first else known[place - 1],
            NOTHING if first or row == 0 else known[above - 1],
            NOTHING if row == 0 else known[above],
            NOTHING if last or row == 0 else known[above + 1],
        )

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
