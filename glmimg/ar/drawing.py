"""A drawing under way: the tokens so far, how long they took, and reports to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import torch

from glmimg.events import TokensWritten, Watch
from glmimg.grid import GridShape, Role
from glmimg.tokens.dump import Stats

REPORT_EVERY = 16
"""Tokens between two reports of progress: reading the clock is free, drawing a terminal is not."""


class Drawing:
    """Tokens of a batch as they come.

    grids: (role, shape) in the order of writing
    rows:  of the batch
    start: the first token to be drawn; those before it are known
    """

    def __init__(self, grids: Sequence[tuple[Role, GridShape]], rows: int, watch: Watch, start: int = 0) -> None:
        self.grids, self.rows, self.watch = tuple(grids), rows, watch
        self.count = start
        self.started = time.perf_counter()
        self._pieces: list[torch.Tensor] = []
        self._passes_before = 0

    def go_on(self, tokens: torch.Tensor, seconds: float, passes: int) -> None:
        """Begin with tokens of an earlier run, [rows, count], and with what they took."""
        self._pieces, self.count = [tokens], tokens.shape[1]
        self.started, self._passes_before = self.started - seconds, passes - 1

    def follow(self, pieces: Iterable[torch.Tensor], end: int) -> Iterator[int]:
        """Take in the pieces a loop yields, [rows, count] each. Yields how many tokens were there before each."""
        for piece in pieces:
            self._pieces.append(piece)
            before, self.count = self.count, self.count + piece.shape[1]
            if self.count // REPORT_EVERY > before // REPORT_EVERY or self.count == end:
                seconds = time.perf_counter() - self.started
                self.watch(TokensWritten(self.count, self.grids, seconds, self.rows, self.passes))
            yield before

    @property
    def passes(self) -> int:
        return self._passes_before + len(self._pieces)

    def tokens(self) -> list[list[int]]:
        """What is drawn so far, row by row."""
        return torch.cat(self._pieces, dim=1).tolist()

    def stats(self, tokens: int) -> Stats:
        """What `tokens` tokens a row took."""
        seconds = round(time.perf_counter() - self.started, 3)
        return Stats(seconds=seconds, tokens=tokens, forward_passes=self.passes)
