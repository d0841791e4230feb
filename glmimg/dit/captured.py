"""The way through the blocks as a CUDA graph, captured at the first step of a picture, replayed at the others.

What a picture is told does not change from step to step, so a graph may keep it; latents and time go through
buffers that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from glmimg.dit.attention import Rotary
from glmimg.dit.conditioning import Branch
from glmimg.dit.denoise import BlockRunner, State
from glmimg.runtime.graph import capture


class Recording:
    """One captured way: the tensors it reads, and what starts it."""

    def __init__(
        self,
        run_blocks: BlockRunner,
        states: Sequence[State],
        branches: Sequence[Branch],
        time: torch.Tensor,
        rotary: Rotary,
    ) -> None:
        self.states = [(hidden.clone(), glyphs.clone()) for hidden, glyphs in states]
        self.time = time.clone()
        self.replay: Callable[[], Sequence[State]] = capture(
            lambda: run_blocks(self.states, branches, self.time, rotary), time.device, warm_ups=1
        )

    def run(self, states: Sequence[State], time: torch.Tensor) -> Sequence[State]:
        """The same way for other values. The tensors returned are overwritten by the next run."""
        for buffers, values in zip(self.states, states, strict=True):
            for buffer, value in zip(buffers, values, strict=True):
                buffer.copy_(value)
        self.time.copy_(time)
        return self.replay()


def captured_runner(run_blocks: BlockRunner) -> BlockRunner:
    """`run_blocks` for one picture, recorded once for each number of branches (a guidance window has steps of both)."""
    recordings: dict[int, Recording] = {}

    def replayed(
        states: Sequence[State], branches: Sequence[Branch], time: torch.Tensor, rotary: Rotary
    ) -> Sequence[State]:
        if len(branches) not in recordings:
            recordings[len(branches)] = Recording(run_blocks, states, branches, time, rotary)
        return recordings[len(branches)].run(states, time)

    return replayed
