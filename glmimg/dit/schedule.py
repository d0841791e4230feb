"""At which noise levels the picture is denoised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler


def set_timesteps(
    scheduler: FlowMatchEulerDiscreteScheduler, steps: int, image_tokens: int, device: torch.device
) -> torch.Tensor:
    """Prepare the scheduler for `steps` denoising steps of a picture of `image_tokens` DiT patches.

    returns: [steps] timesteps, falling, float32
    source:  diffusers, `GlmImagePipeline.__call__` (whole timesteps, evenly spaced) and `calculate_shift`
    """
    config = scheduler.config
    timesteps = np.linspace(config.num_train_timesteps, 1.0, steps + 1)[:-1].astype(np.int64).astype(np.float32)
    scheduler.set_timesteps(
        timesteps=timesteps,
        sigmas=timesteps / config.num_train_timesteps,
        device=device,
        mu=dynamic_shift(
            image_tokens,
            config.get("base_image_seq_len", 256),
            config.get("base_shift", 0.25),
            config.get("max_shift", 0.75),
        ),
    )
    timesteps_on_device: torch.Tensor = scheduler.timesteps
    return timesteps_on_device


def dynamic_shift(image_tokens: int, base_tokens: int, base_shift: float, max_shift: float) -> float:
    """Larger pictures spend more of the schedule in noise: shift grows with the square root of the tokens.

    source: diffusers, `pipeline_glm_image.calculate_shift`
    """
    return float((image_tokens / base_tokens) ** 0.5 * max_shift + base_shift)
