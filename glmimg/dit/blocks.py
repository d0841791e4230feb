"""Ways through the DiT's blocks: one branch of guidance after the other, both as one batch, or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from glmimg.dit.attention import Rotary, Row
from glmimg.dit.conditioning import Branch
from glmimg.runtime.graph import capture

State = tuple[torch.Tensor, torch.Tensor]
"""What goes from block to block for one branch: [1, patches, width] and [1, glyph tokens, width]."""


@dataclass(frozen=True)
class Pass:
    """What goes into the blocks at one step.

    states:   of each branch, before the first block
    branches: what those are told
    time:     [1, time width]
    rotary:   how the patches are rotated by their places
    """

    states: Sequence[State]
    branches: Sequence[Branch]
    time: torch.Tensor
    rotary: Rotary

    @property
    def changing(self) -> list[torch.Tensor]:
        """The tensors that are others at every step."""
        return [*(tensor for state in self.states for tensor in state), self.time]


BlockRunner = Callable[[Pass], Sequence[State]]
"""Runs all blocks; returns the states after the last."""


def plain_runner(blocks: Iterable[Any]) -> BlockRunner:
    """The default way: every branch through a block before the next block, so that a streamed one comes once."""

    def run_blocks(step: Pass) -> Sequence[State]:
        states = step.states
        for layer, block in enumerate(blocks):
            states = [
                block(*state, step.time, step.rotary, kv_cache=branch.sources_in(layer))
                for state, branch in zip(states, step.branches, strict=True)
            ]
        return states

    return run_blocks


def one_batch_runner(blocks: Iterable[Any]) -> BlockRunner:
    """Two branches as rows of one batch: each block runs once a step instead of twice.

    Linear layers take both rows at once. Attention, which has to be `Attend`, stays apart: a row attends to its own
    glyphs and source pictures, so rows of unlike length need no mask, which would rule out the fastest kernels.
    """
    alone = plain_runner(blocks)

    def run_blocks(step: Pass) -> Sequence[State]:
        if len(step.branches) == 1:
            return alone(step)
        longest = max(glyphs.shape[1] for _, glyphs in step.states)
        paddings = [longest - glyphs.shape[1] for _, glyphs in step.states]
        hidden = torch.cat([each for each, _ in step.states])
        joint = torch.cat([F.pad(each, (0, 0, pad, 0)) for (_, each), pad in zip(step.states, paddings, strict=True)])
        for layer, block in enumerate(blocks):
            told = zip(paddings, step.branches, strict=True)
            rows = tuple(Row(padding, branch.sources_in(layer)) for padding, branch in told)
            hidden, joint = block(hidden, joint, step.time, step.rotary, kv_cache=rows)
        return [(hidden[row : row + 1], joint[row : row + 1, padding:]) for row, padding in enumerate(paddings)]

    return run_blocks


def captured_runner(run_blocks: BlockRunner) -> BlockRunner:
    """`run_blocks` for one picture as a CUDA graph, captured at its first step and replayed at the others.

    There is one graph for each number of branches, since a guidance window has steps of both. What a picture is told
    stays the same, so a graph may keep it; latents and time go through buffers that stay where they are. The states
    returned are overwritten by the next step.
    """
    recorded: dict[int, tuple[Pass, Callable[[], Sequence[State]]]] = {}

    def replayed(step: Pass) -> Sequence[State]:
        if len(step.branches) not in recorded:
            own = replace(step, states=[(hidden.clone(), glyphs.clone()) for hidden, glyphs in step.states])
            own = replace(own, time=step.time.clone())
            recorded[len(step.branches)] = own, capture(lambda: run_blocks(own), own.time.device, warm_ups=1)
        buffers, replay = recorded[len(step.branches)]
        for buffer, value in zip(buffers.changing, step.changing, strict=True):
            buffer.copy_(value)
        return replay()

    return replayed
