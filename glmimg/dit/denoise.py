"""The denoising loop: from noise to latents, one scheduler step at a time.

The blocks and the scheduler are diffusers'; the loop around them is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from glmimg.dit.blocks import BlockRunner, Pass
from glmimg.dit.conditioning import Branch, Conditioning
from glmimg.dit.stepcache import Forecast
from glmimg.job import Painting

if TYPE_CHECKING:
    from diffusers import GlmImageTransformer2DModel


def denoise(
    transformer: GlmImageTransformer2DModel,
    scheduler: Any,
    timesteps: torch.Tensor,
    latents: torch.Tensor,
    conditioning: Conditioning,
    painting: Painting,
    run_blocks: BlockRunner,
    done: int = 0,
) -> Iterator[torch.Tensor]:
    """Yield the latents after each step.

    timesteps: [steps], from `set_timesteps`
    latents:   [1, channels, height, width], noise to start from, or what the first `done` steps left
    """
    start, end = painting.guidance_window or (0.0, 1.0)
    forecast = Forecast(painting.cache, timesteps)
    for index, timestep in enumerate(timesteps[done:], start=done):
        guided = start <= index / len(timesteps) < end
        branches = conditioning.branches if guided else conditioning.branches[:1]
        velocities = forecast.look_ahead(index, len(branches))
        if velocities is None:
            velocities = predict_noise(transformer, latents, branches, timestep, conditioning, run_blocks)
            forecast.note(index, velocities)
        noise, *unguided = velocities
        if unguided:
            noise = unguided[0] + painting.guidance * (noise - unguided[0])
        latents = scheduler.step(noise, timestep, latents, return_dict=False)[0]
        yield latents


def embed_time(transformer: GlmImageTransformer2DModel, timestep: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """What modulates every block at this step: [1, time width].

    The model counts timesteps from 0, the scheduler from 1.
    source: diffusers, `GlmImageCombinedTimestepSizeEmbeddings`
    """
    embed = transformer.time_condition_embed
    time = embed.timestep_embedder(embed.time_proj(timestep.expand(1) - 1).to(size.dtype))
    return F.silu(time + size)


def predict_noise(
    transformer: GlmImageTransformer2DModel,
    latents: torch.Tensor,
    branches: Sequence[Branch],
    timestep: torch.Tensor,
    conditioning: Conditioning,
    run_blocks: BlockRunner,
) -> list[torch.Tensor]:
    """One pass through the DiT for each branch.

    latents: [1, channels, height, width]
    returns: for each branch the predicted velocity (noise minus picture), of the latents' shape, float32
    source:  diffusers, `GlmImageTransformer2DModel.forward`
    """
    time = embed_time(transformer, timestep, conditioning.size)
    patches = transformer.image_projector(latents.to(transformer.dtype))
    started = [(patches + branch.prior, branch.glyphs) for branch in branches]
    states = run_blocks(Pass(started, branches, time, conditioning.rotary))
    projected = [transformer.proj_out(transformer.norm_out(hidden, time)) for hidden, _ in states]
    return [unpatchify(each, latents.shape, transformer.config.patch_size).float() for each in projected]


def unpatchify(patches: torch.Tensor, shape: torch.Size, side: int) -> torch.Tensor:
    """[1, patches, channels * side * side] back to [1, channels, height, width]."""
    batch, _, height, width = shape
    squares = patches.reshape(batch, height // side, width // side, -1, side, side)
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
