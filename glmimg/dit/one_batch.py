"""Both branches of guidance as two rows of one batch: each block runs once a step instead of twice.

Linear layers take both rows at once. Attention stays apart: a row attends to its own glyphs and its own
source pictures alone, so rows of unlike length need no mask (which would rule out the fastest kernels).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from glmimg.dit.attention import Rotary, Row
from glmimg.dit.conditioning import Branch
from glmimg.dit.denoise import BlockRunner, State, plain_runner


def one_batch_runner(blocks: Iterable[Any]) -> BlockRunner:
    """Two branches as one batch; a branch alone goes the default way. The blocks have to attend by `Attend`."""
    alone = plain_runner(blocks)

    def run_blocks(
        states: Sequence[State], branches: Sequence[Branch], time: torch.Tensor, rotary: Rotary
    ) -> Sequence[State]:
        if len(branches) == 1:
            return alone(states, branches, time, rotary)
        longest = max(glyphs.shape[1] for _, glyphs in states)
        paddings = [longest - glyphs.shape[1] for _, glyphs in states]
        hidden = torch.cat([each for each, _ in states])
        joint = torch.cat([F.pad(each, (0, 0, pad, 0)) for (_, each), pad in zip(states, paddings, strict=True)])
        for layer, block in enumerate(blocks):
            rows = tuple(
                Row(padding, None if branch.sources is None else branch.sources[layer])
                for padding, branch in zip(paddings, branches, strict=True)
            )
            hidden, joint = block(hidden, joint, time, rotary, kv_cache=rows)
        return [(hidden[row : row + 1], joint[row : row + 1, padding:]) for row, padding in enumerate(paddings)]

    return run_blocks
