"""Skipped passes: extrapolated from the passes before them, or shortened by cache-dit.

The named levels forecast. A picture's velocity changes slowly along the schedule, so at a fixed set of passes it is
taken from the straight line through the last two that were computed, and no block runs at all.

A number leaves it to cache-dit to skip blocks whose input hardly changed since the step before. It patches the list of
blocks inside a module's `forward`. Ours is a module of nothing but that list, one for each branch of guidance, so that
each branch counts its own steps and a guidance window leaves the count right.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from glmimg.dit.attention import Rotary
from glmimg.dit.blocks import BlockRunner, Pass, State
from glmimg.dit.conditioning import Branch

if TYPE_CHECKING:
    from diffusers import GlmImageTransformer2DModel

APART = {"light": 2.3, "deep": 3.6}
"""For each level, how many passes of the schedule there are per computed pass."""

WARM_UP_STEPS = 4
"""Steps at the start that are always computed: the picture's layout is decided in them."""

CACHED_IN_A_ROW = 3
"""The most reused steps in a row, whatever the residual says."""


def computed_passes(level: str | float | None, passes: int) -> frozenset[int]:
    """Which passes of a schedule a level computes: the first two, the last, and some evenly spaced between them."""
    if not isinstance(level, str):
        return frozenset(range(passes))
    intervals = max(1, ceil(passes / APART[level]) - 2)
    even = {1 + round(at * (passes - 2) / intervals) for at in range(intervals + 1)}
    return frozenset({0, *even} & set(range(passes)))


class Forecast:
    """The velocities of the passes that a level skips. The first is never skipped: the others build on it."""

    def __init__(self, level: str | float | None, timesteps: torch.Tensor) -> None:
        """timesteps: [passes], as the scheduler has them; solvers of two passes a step have most of them twice"""
        self._computed = computed_passes(level, len(timesteps))
        self._times = timesteps.tolist() if isinstance(level, str) else []
        self._noted: list[tuple[float, Sequence[torch.Tensor]]] = []

    def note(self, index: int, velocities: Sequence[torch.Tensor]) -> None:
        """Store what a pass has computed, for each guidance branch."""
        if self._times:
            earlier = [each for each in self._noted if each[0] != self._times[index]]
            self._noted = [*earlier[-1:], (self._times[index], velocities)]

    def look_ahead(self, index: int, branches: int) -> Sequence[torch.Tensor] | None:
        """Velocities extrapolated from the last two passes, for so many branches; None if the pass is to be computed.

        Where guidance begins in the middle, nothing is known yet of the branch without it, so that pass is computed.
        """
        if index in self._computed or not self._noted or len(self._noted[-1][1]) < branches:
            return None
        (before, older), (last, newer) = self._noted[0], self._noted[-1]
        share = (self._times[index] - last) / (last - before) if len(older) >= branches and last != before else 0.0
        return [torch.lerp(new, old, -share) for old, new in zip(older[:branches], newer[:branches], strict=False)]


class CachedBlock(nn.Module):
    """A block that finds the keys and values of source pictures itself: cache-dit tells all blocks the same."""

    def __init__(self, block: nn.Module, layer: int) -> None:
        super().__init__()
        self.block, self.layer = block, layer

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        time: torch.Tensor,
        rotary: Rotary,
        branch: Branch,
    ) -> State:
        """[1, patches, width] and [1, glyph tokens, width], of the same shapes afterwards."""
        sources = branch.sources_in(self.layer)
        after: State = self.block(hidden_states, encoder_hidden_states, time, rotary, kv_cache=sources)
        return after


class BlockStack(nn.Module):
    """The DiT's blocks one after the other, as a module of its own."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList(CachedBlock(block, layer) for layer, block in enumerate(blocks))

    def forward(self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, *told: Any) -> State:
        """As a block's, with what those are told besides."""
        for block in self.transformer_blocks:
            hidden_states, encoder_hidden_states = block(hidden_states, encoder_hidden_states, *told)
        return hidden_states, encoder_hidden_states


def cached_runner(transformer: GlmImageTransformer2DModel, threshold: float, steps: int) -> BlockRunner:
    """The blocks as a whole for each branch, behind a cache of its own, good for one picture of `steps` passes.

    threshold: relative change of the first block's residual under which the others are reused
    needs:     the extra `cache`
    """
    return runner_behind_cache_dit(
        transformer,
        residual_diff_threshold=threshold,
        max_warmup_steps=min(WARM_UP_STEPS, steps),
        max_continuous_cached_steps=CACHED_IN_A_ROW,
        num_inference_steps=steps,
    )


def runner_behind_cache_dit(
    transformer: GlmImageTransformer2DModel, calibrator: Any = None, **config: Any
) -> BlockRunner:
    """As `cached_runner`, with fields of cache-dit's `DBCacheConfig`, and its calibrator if there is to be one."""
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")  # it logs when it is imported
    import cache_dit

    stacks = [BlockStack(transformer.transformer_blocks) for _ in range(2)]
    for stack in stacks:
        adapter = cache_dit.BlockAdapter(
            transformer=stack,
            blocks=stack.transformer_blocks,
            forward_pattern=cache_dit.ForwardPattern.Pattern_0,
            check_forward_pattern=False,
        )
        how = cache_dit.DBCacheConfig(Fn_compute_blocks=1, Bn_compute_blocks=0, enable_separate_cfg=False, **config)
        cache_dit.enable_cache(adapter, cache_config=how, calibrator_config=calibrator)

    def run_blocks(step: Pass) -> Sequence[State]:
        rows = zip(stacks, step.states, step.branches, strict=False)
        return [stack(*state, step.time, step.rotary, branch) for stack, state, branch in rows]

    return run_blocks
