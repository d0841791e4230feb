"""A plan put into words and numbers: what each stage needs, every setting, the one to choose and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from glmimg.choice import ModelChoice
from glmimg.errors import OutOfMemory
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import DTYPES, place
from glmimg.runtime.estimate import Need, Request
from glmimg.runtime.layout import PLANS, MemoryPlan
from glmimg.runtime.lora import PARTS
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import Planner
from glmimg.runtime.quantize import NONE, check_device, parse_quantize
from glmimg.runtime.speed import Speeds, assume_speeds, estimate_times, measure_speeds


@dataclass(frozen=True)
class Setting:
    """One memory setting: how to ask for it, its peaks in bytes, about how long it takes in seconds."""

    command: str
    ar_peak: float
    dit_peak: float
    fits: bool
    chosen: bool
    load_s: float
    tokens_s: float
    picture_s: float
    why: str


@dataclass(frozen=True)
class Proposal:
    """What `glmimg models plan` prints."""

    headline: str
    budget: float
    ar: Need
    dit: Need
    settings: list[Setting]
    chosen: str
    advice: str


def propose_here(
    checkpoint: Checkpoint,
    size_px: tuple[int, int],
    *,
    device: str,
    dtype: str,
    steps: int,
    guided: bool,
    quantize: str,
) -> Proposal:
    """A plan for this machine: memory that is free now, speeds measured now. Raises UsageError (exit 2)."""
    placement = place(ModelChoice.model_validate({"device": device, "dtype": dtype}))
    name = next(name for name, known in DTYPES.items() if known == placement.dtype_name)
    check_device(quantize, placement)
    on_host = placement.device.type == "cpu"
    request = _compressed(Request(*size_px, name, on_host=on_host, guided=guided), quantize, checkpoint)
    budget = free_bytes(placement.device)
    where = f"{placement.device} of this machine, {budget / 1e9:.1f} GB free"
    return _propose(checkpoint, request, budget, measure_speeds(placement), where, steps)


def propose(
    checkpoint: Checkpoint,
    size_px: tuple[int, int],
    vram: float,
    *,
    dtype: str,
    steps: int,
    guided: bool,
    quantize: str,
) -> Proposal:
    """A plan for a card of `vram` bytes that need not be in this machine. Raises UsageError (exit 2)."""
    request = _compressed(Request(*size_px, dtype, on_host=False, guided=guided), quantize, checkpoint)
    return _propose(checkpoint, request, vram, assume_speeds(vram), f"a card of {vram / 1e9:.1f} GB", steps)


def _compressed(request: Request, quantize: str, checkpoint: Checkpoint) -> Request:
    """The same with compressed weights, which cannot be streamed. Raises UsageError (exit 2)."""
    ways = parse_quantize(quantize)
    plain = {half: ways[half] == NONE and checkpoint.compressed_by(part) is None for half, part in PARTS.items()}
    return replace(request, quantize=(ways["ar"], ways["dit"]), streamable=(plain["ar"], plain["dit"]))


def _propose(
    checkpoint: Checkpoint, request: Request, budget: float, speeds: Speeds, where: str, steps: int
) -> Proposal:
    planner = Planner.of(checkpoint, request)
    possible = PLANS if all(request.streamable) else {mode: plan for mode, plan in PLANS.items() if mode != "stream"}
    plans = {f"--memory {mode}": plan for mode, plan in possible.items()}
    chosen: str | None = None
    try:
        best = planner.choose(budget)
        chosen = next((name for name, plan in plans.items() if plan == best), None)
        if chosen is None:
            chosen = f"--memory auto ({words(best, planner)})"
            plans[chosen] = best
        advice = f"--memory auto takes {'this' if chosen.startswith('--memory auto') else chosen}."
    except OutOfMemory as error:
        advice = f"Nothing fits: {error.message}."
    settings = [_setting(planner, name, plan, budget, speeds, steps, name == chosen) for name, plan in plans.items()]
    ar, dit = planner.needs(PLANS["stage"])
    guidance = "guided" if request.guided else "without guidance"
    compressed = "" if set(request.quantize) == {NONE} else f" ({', '.join(request.quantize)} layers)"
    headline = (
        f"{checkpoint.id}, {request.width}x{request.height}, {request.dtype}{compressed}, {steps} steps {guidance}, "
        f"on {where}\n"
        f"speeds ({speeds.source}): {speeds.flops / 1e12:.2f} TFLOP/s, memory {speeds.memory / 1e9:.0f} GB/s, "
        f"files {speeds.files / 1e9:.0f} GB/s"
    )
    return Proposal(headline, budget, ar, dit, settings, chosen or "", advice)


def _setting(
    planner: Planner, name: str, plan: MemoryPlan, budget: float, speeds: Speeds, steps: int, chosen: bool
) -> Setting:
    ar, dit = planner.needs(plan)
    times = estimate_times(planner, plan, speeds, steps)
    return Setting(
        command=name,
        ar_peak=ar.peak,
        dit_peak=dit.peak,
        fits=planner.fits(plan, budget),
        chosen=chosen,
        load_s=times.load_ar + times.load_dit,
        tokens_s=times.tokens,
        picture_s=times.picture,
        why=f"tokens: {times.why_tokens}; picture: {times.why_picture}",
    )


def words(plan: MemoryPlan, planner: Planner) -> str:
    """What a plan between the named settings does."""
    parts = []
    if plan.ar.resident is not None:
        parts.append(f"{plan.ar.resident} of {planner.ar.layers} AR layers stay")
    if plan.dit.resident is not None:
        parts.append(f"{plan.dit.resident} of {planner.dit.blocks} DiT blocks stay")
    if plan.dit.taking_turns:
        parts.append("parts of stage 2 take turns")
    if plan.dit.vae_tiles:
        parts.append("VAE in squares")
    return ", ".join(parts)
