"""Running the DiT's blocks: one guidance branch after the other, both as one batch, or as a CUDA graph."""

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


GRAPHS_KEPT = 4
"""Shapes of passes: two pictures' with a guidance window, or four without."""


@dataclass(frozen=True)
class Pass:
    """The input of the blocks at one step.

    states:   of each branch, before the first block
    branches: their conditioning
    time:     [1, time width]
    rotary:   how the patches are rotated by their places
    """

    states: Sequence[State]
    branches: Sequence[Branch]
    time: torch.Tensor
    rotary: Rotary

    @property
    def inputs(self) -> list[torch.Tensor]:
        """The tensors that change with every step or picture, except what is kept of source pictures."""
        return [*(tensor for state in self.states for tensor in state), self.time, *self.rotary]

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """What a graph depends on: sizes of the picture and of its glyphs, and the number of branches."""
        return tuple(tensor.shape for tensor in self.inputs)

    def copied(self) -> Pass:
        """A copy of the pass with its own tensors."""
        cos, sin = self.rotary
        states = [(hidden.clone(), glyphs.clone()) for hidden, glyphs in self.states]
        return replace(self, states=states, time=self.time.clone(), rotary=(cos.clone(), sin.clone()))


BlockRunner = Callable[[Pass], Sequence[State]]
"""Runs all blocks; returns the states after the last."""


def plain_runner(blocks: Iterable[Any]) -> BlockRunner:
    """The default: every branch goes through a block before the next block, so that a streamed block is read once."""

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
    """`run_blocks` as CUDA graphs: one for each shape, captured at its first step and replayed at the others.

    Pictures of a shape share a graph, unless they have source pictures: what is kept of those is of one picture alone,
    as is then the runner. A guidance window has steps of two shapes, with and without the second branch. The least
    recent of more than `GRAPHS_KEPT` goes, as each holds memory for its activations.

    All that goes in passes through buffers that stay where they are. The states returned are overwritten by the next
    step.
    """
    recorded: dict[tuple[torch.Size, ...], tuple[Pass, Callable[[], Sequence[State]]]] = {}

    def record(step: Pass) -> tuple[Pass, Callable[[], Sequence[State]]]:
        if len(recorded) == GRAPHS_KEPT:
            del recorded[next(iter(recorded))]
        own = step.copied()
        return own, capture(lambda: run_blocks(own), own.time.device, warm_ups=1)

    def replayed(step: Pass) -> Sequence[State]:
        own, replay = recorded.pop(step.shape) if step.shape in recorded else record(step)
        recorded[step.shape] = own, replay
        for buffer, value in zip(own.inputs, step.inputs, strict=True):
            buffer.copy_(value)
        return replay()

    return replayed
