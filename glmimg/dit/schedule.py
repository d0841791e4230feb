"""The noise levels of the denoising schedule, and the solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from diffusers import FlowMatchEulerDiscreteScheduler

REMEMBERED = (
    *("_step_index", "prev_derivative", "dt", "sample", "model_outputs", "timestep_list", "lower_order_nums"),
    *("last_sample", "this_order"),
)
"""Attributes that solvers keep from one step to the next; each solver has some of them."""

FIRST_SIGMA = 1 - 1e-6
"""Pure noise has no signal to take the logarithm of; solvers that do start a hair below it (as diffusers' do)."""


def set_timesteps(
    scheduler: FlowMatchEulerDiscreteScheduler, steps: int, image_tokens: int, device: torch.device
) -> None:
    """Prepare the scheduler for `steps` denoising steps of a picture of `image_tokens` DiT patches.

    Larger pictures spend more of the schedule in noise: the shift grows with the square root of the tokens.
    source:  diffusers, `GlmImagePipeline.__call__` (whole timesteps, evenly spaced) and `calculate_shift`
    """
    config = scheduler.config
    timesteps = np.linspace(config.num_train_timesteps, 1.0, steps + 1)[:-1].astype(np.int64).astype(np.float32)
    growth = (image_tokens / config.get("base_image_seq_len", 256)) ** 0.5
    shift = float(growth * config.get("max_shift", 0.75) + config.get("base_shift", 0.25))
    scheduler.set_timesteps(timesteps=timesteps, sigmas=timesteps / config.num_train_timesteps, device=device, mu=shift)


def solver_state(solver: Any) -> dict[str, Any]:
    """The state of a solver between two steps, with lists copied because it would change them."""
    found = {name: getattr(solver, name) for name in REMEMBERED if hasattr(solver, name)}
    return {name: [*value] if isinstance(value, list) else value for name, value in found.items()}


def is_state(state: dict[str, Any], shape: torch.Size, done: int) -> bool:
    """Whether it is latents of this shape and a `solver_state` after so many steps."""
    values = [each for value in state.values() for each in (value if isinstance(value, list) else [value])]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return (
        (state["latents"].shape, state["_step_index"]) == (shape, done)
        and all(value is None or type(value) in (int, float, torch.Tensor) for value in values)
        and all(tensor.shape == shape or tensor.numel() == 1 for tensor in tensors)
    )


def restore_solver(solver: Any, state: dict[str, Any]) -> None:
    """Restore `solver_state` in a solver that was prepared for the same steps."""
    for name in REMEMBERED:
        if name in state:
            setattr(solver, name, state[name])


def switch_scheduler(euler: FlowMatchEulerDiscreteScheduler, name: str) -> tuple[Any, torch.Tensor]:
    """Switch to another solver over the noise levels that `set_timesteps` has prepared.

    The model is told evenly spaced timesteps while the noise levels are shifted, so a solver takes both as
    they are instead of computing its own.
    name:    euler, heun (two passes a step but the last), unipc or dpm (second order, one pass a step)
    returns: the scheduler and its timesteps, one for each pass
    source:  diffusers, `FlowMatchHeunDiscreteScheduler`, `UniPCMultistepScheduler`, `DPMSolverMultistepScheduler`
    """
    if name == "euler":
        return euler, euler.timesteps
    import diffusers

    trained, timesteps, sigmas = euler.config.num_train_timesteps, euler.timesteps, euler.sigmas
    if name == "heun":
        solver: Any = diffusers.FlowMatchHeunDiscreteScheduler(num_train_timesteps=trained)
        solver.set_timesteps(len(timesteps), device=timesteps.device)
        solver.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        solver.timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
        return solver, solver.timesteps
    kind = {"unipc": diffusers.UniPCMultistepScheduler, "dpm": diffusers.DPMSolverMultistepScheduler}[name]
    solver = kind(
        num_train_timesteps=trained,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        solver_order=2,
        final_sigmas_type="zero",
    )
    solver.set_timesteps(len(timesteps), device=timesteps.device)
    solver.sigmas = sigmas.clamp(max=FIRST_SIGMA).to("cpu")
    solver.timesteps = timesteps
    return solver, timesteps
