"""The denoising loop: from noise to latents, one scheduler step at a time, over the noise levels of a schedule.

The blocks and the schedulers are diffusers'; the loop around them is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from glmimg.dit.blocks import BlockRunner, Pass
from glmimg.dit.conditioning import Branch, Conditioning
from glmimg.dit.stepcache import Forecast
from glmimg.job import Painting

if TYPE_CHECKING:
    from diffusers import FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel

REMEMBERED = (
    *("_step_index", "prev_derivative", "dt", "sample", "model_outputs", "timestep_list", "lower_order_nums"),
    *("last_sample", "this_order"),
)
"""Attributes that solvers keep from one step to the next; each solver has some of them."""

FIRST_SIGMA = 1 - 1e-6
"""Pure noise has no signal to take the logarithm of; solvers that do start a hair below it (as diffusers' do)."""


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
