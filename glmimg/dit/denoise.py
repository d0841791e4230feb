"""The denoising loop: from noise to latents, one scheduler step at a time.

The blocks and the scheduler are diffusers'; the loop around them is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from glmimg.dit.conditioning import Branch, Conditioning

if TYPE_CHECKING:
    from diffusers import FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel


def denoise(
    transformer: GlmImageTransformer2DModel,
    scheduler: FlowMatchEulerDiscreteScheduler,
    timesteps: torch.Tensor,
    latents: torch.Tensor,
    conditioning: Conditioning,
    guidance_scale: float,
) -> Iterator[torch.Tensor]:
    """Yield the latents after each step.

    timesteps: [steps], from `set_timesteps`
    latents:   [1, channels, height, width], noise to start from
    """
    for timestep in timesteps:
        time = embed_time(transformer, timestep, conditioning.size)
        noise = predict_noise(transformer, latents, conditioning.conditional, time, conditioning.rotary)
        if conditioning.unconditional is not None:
            unguided = predict_noise(transformer, latents, conditioning.unconditional, time, conditioning.rotary)
            noise = unguided + guidance_scale * (noise - unguided)
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
    branch: Branch,
    time: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """One pass through the DiT.

    latents: [1, channels, height, width]
    returns: the predicted velocity (noise minus picture), of the latents' shape, float32
    source:  diffusers, `GlmImageTransformer2DModel.forward`
    """
    hidden = transformer.image_projector(latents.to(transformer.dtype)) + branch.prior
    glyphs = branch.glyphs
    for layer, block in enumerate(transformer.transformer_blocks):
        sources = branch.sources[layer] if branch.sources is not None else None
        hidden, glyphs = block(hidden, glyphs, time, rotary, kv_cache=sources)
    hidden = transformer.proj_out(transformer.norm_out(hidden, time))
    return unpatchify(hidden, latents.shape, transformer.config.patch_size).float()


def unpatchify(patches: torch.Tensor, shape: torch.Size, side: int) -> torch.Tensor:
    """[1, patches, channels * side * side] back to [1, channels, height, width]."""
    batch, _, height, width = shape
    squares = patches.reshape(batch, height // side, width // side, -1, side, side)
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
