"""Step caching by cache-dit: blocks whose input hardly changed since the step before are not run again.

cache-dit patches the list of blocks inside a module's `forward`. Ours is a module of nothing but that
list, one for each branch of guidance, so that each branch counts its own steps and a guidance window
leaves the count right.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from glmimg.dit.attention import Rotary
from glmimg.dit.blocks import BlockRunner, Pass, State

if TYPE_CHECKING:
    from diffusers import GlmImageTransformer2DModel

WARM_UP_STEPS = 4
"""Steps at the start that are always computed: the picture's layout is decided in them."""

CACHED_IN_A_ROW = 3
"""After so many reused steps one is computed, whatever the residual says."""


class BlockStack(nn.Module):
    """The DiT's blocks one after the other, as a module of its own."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList(blocks)

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, time: torch.Tensor, rotary: Rotary
    ) -> State:
        """[1, patches, width] and [1, glyph tokens, width], of the same shapes afterwards."""
        for block in self.transformer_blocks:
            hidden_states, encoder_hidden_states = block(hidden_states, encoder_hidden_states, time, rotary)
        return hidden_states, encoder_hidden_states


def cached_runner(transformer: GlmImageTransformer2DModel, threshold: float, steps: int) -> BlockRunner:
    """The blocks as a whole for each branch, behind a cache of its own, good for one picture of `steps` passes.

    threshold: relative change of the first block's residual under which the others are reused
    needs:     the extra `cache`
    """
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")  # it logs about itself when it is imported
    import cache_dit

    stacks = [BlockStack(transformer.transformer_blocks) for _ in range(2)]
    for stack in stacks:
        adapter = cache_dit.BlockAdapter(
            transformer=stack,
            blocks=stack.transformer_blocks,
            forward_pattern=cache_dit.ForwardPattern.Pattern_0,
            check_forward_pattern=False,
        )
        config = cache_dit.DBCacheConfig(
            Fn_compute_blocks=1,
            Bn_compute_blocks=0,
            residual_diff_threshold=threshold,
            max_warmup_steps=min(WARM_UP_STEPS, steps),
            max_continuous_cached_steps=CACHED_IN_A_ROW,
            enable_separate_cfg=False,
            num_inference_steps=steps,
        )
        cache_dit.enable_cache(adapter, cache_config=config)

    def run_blocks(step: Pass) -> Sequence[State]:
        return [stack(*state, step.time, step.rotary) for stack, state in zip(stacks, step.states, strict=False)]

    return run_blocks
