"""First drafts of a Jacobi window: what a token might be before the model has said anything about it.

A cell mostly repeats what stood between the same neighbours before, and the preview grid has already said
what stands where, in codes of its own scale. Both are learnt while the grids are being written.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

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
        """Take in that `told` follow the known tokens, and put them there."""
        for token in told:
            around, code = self._look(known)
            self.seen[around] = token
            if code is not None:
                self.map[code] = token
            known.append(token)

    def _look(self, known: Sequence[int]) -> tuple[tuple[int, ...], int | None]:
        """What is known around the next place, and the preview's code there; None within the preview itself.

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
