"""At which noise levels the picture is denoised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
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


FIRST_SIGMA = 1 - 1e-6
"""Pure noise has no signal to take the logarithm of; solvers that do start a hair below it (as diffusers' do)."""


def switch_scheduler(euler: FlowMatchEulerDiscreteScheduler, name: str) -> tuple[Any, torch.Tensor]:
    """Another solver over the noise levels that `set_timesteps` has prepared.

    The model is told evenly spaced timesteps while the noise levels are shifted, so a solver takes both as
    they are instead of computing its own.
    name:    euler, heun (two passes a step but the last), unipc or dpm (second order, one pass a step)
    returns: the scheduler and its timesteps, one for each pass
    source:  diffusers, `FlowMatchHeunDiscreteScheduler`, `UniPCMultistepScheduler`, `DPMSolverMultistepScheduler`
    """
    if name == "euler":
        return euler, euler.timesteps
    if name == "heun":
        return _heun(euler)
    return _multistep(euler, name)


def _heun(euler: FlowMatchEulerDiscreteScheduler) -> tuple[Any, torch.Tensor]:
    from diffusers import FlowMatchHeunDiscreteScheduler

    solver = FlowMatchHeunDiscreteScheduler(num_train_timesteps=euler.config.num_train_timesteps)
    solver.set_timesteps(len(euler.timesteps), device=euler.timesteps.device)
    solver.sigmas = _each_twice_inside(euler.sigmas)
    solver.timesteps = torch.cat([euler.timesteps[:1], euler.timesteps[1:].repeat_interleave(2)])
    return solver, solver.timesteps


def _each_twice_inside(sigmas: torch.Tensor) -> torch.Tensor:
    return torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])


def _multistep(euler: FlowMatchEulerDiscreteScheduler, name: str) -> tuple[Any, torch.Tensor]:
    import diffusers

    kind = {"unipc": diffusers.UniPCMultistepScheduler, "dpm": diffusers.DPMSolverMultistepScheduler}[name]
    solver: Any = kind(
        num_train_timesteps=euler.config.num_train_timesteps,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        solver_order=2,
        final_sigmas_type="zero",
    )
    solver.set_timesteps(len(euler.timesteps), device=euler.timesteps.device)
    solver.sigmas = euler.sigmas.clamp(max=FIRST_SIGMA).to("cpu")
    solver.timesteps = euler.timesteps
    return solver, solver.timesteps
