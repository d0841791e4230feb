"""How many tokens a pass of Jacobi decoding should draft: as many as pay.

The choice depends on what was finished so far and on nothing else, never on a clock, so that a seed
gives the same tokens on a busy machine.
"""

from __future__ import annotations

MAX_WINDOW = 96
"""On the demo 32, 64, 96, 128 places took 0.10, 0.08, 0.07, 0.07 passes a token."""

MEMORY = 0.94
"""Weight of the past in the running mean of tokens a pass: a mean of few passes would give up at every edge."""

REACH = 10.0
"""Places looked at for each token a pass is expected to finish: what lies ahead settles meanwhile. Rows of a batch look
less far, since they share the pass."""

WORTH_IT = 1.7
"""Tokens a pass under which drafting costs more than it brings."""

REST = 40
"""Passes without drafts when they do not pay, before a few are tried again."""

HOPE, TRY = 8.0, 2.0
"""Tokens a pass assumed at the start, and after a rest."""


class Window:
    """The number of places a pass looks at, from 1 (no drafts) to `limit`, following what passes finish.

    rows: that share the pass
    """

    def __init__(self, limit: int = MAX_WINDOW, rows: int = 1) -> None:
        self.limit, self.reach = limit, REACH / rows**0.5
        self.mean = HOPE
        self.resting = 0

    @property
    def size(self) -> int:
        """Places the next pass looks at: the one to finish in any case, and drafts behind it."""
        return 1 if self.resting else min(self.limit, max(2, round(self.reach * self.mean)))

    def learn(self, finished: int) -> None:
        """Take in how many tokens a pass finished."""
        if self.resting:
            self.resting -= 1
            self.mean = TRY
            return
        self.mean = MEMORY * self.mean + (1 - MEMORY) * finished
        if self.mean < WORTH_IT:
            self.resting = REST
