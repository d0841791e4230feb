"""A memory plan for display: what each stage needs, every setting, which one to choose and why."""

from __future__ import annotations

from dataclasses import dataclass

from glmimg.choice import ModelChoice
from glmimg.errors import OutOfMemory
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.compression import Way, compare, compressed, worth_taking
from glmimg.runtime.device import place
from glmimg.runtime.estimate import Need, Request
from glmimg.runtime.layout import PLANS, MemoryPlan
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import Planner
from glmimg.runtime.quantize import AUTO, NONE, check_device
from glmimg.runtime.speed import Speeds, assume_speeds, estimate_times, measure_speeds


@dataclass(frozen=True)
class Setting:
    """One memory setting: its option, its peaks in bytes, its estimated time in seconds."""

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
    ways: list[Way]
    chosen: str
    advice: str


def propose(
    checkpoint: Checkpoint,
    choice: ModelChoice,
    size_px: tuple[int, int],
    vram: float | None,
    steps: int,
    guided: bool,
    sources: tuple[tuple[int, int], ...] = (),
) -> Proposal:
    """A plan for a card of `vram` bytes, or for this machine: memory free now, speeds measured now.

    sources: (height, width) of the source pictures of an edit, as the model reads them
    raises: UsageError (exit 2), ModelUnfit (exit 4)
    """
    on_host = False
    if choice.quantize == AUTO:  # the plan says what that takes
        choice = choice.model_copy(update={"quantize": NONE})
    if vram is None:
        placement = place(choice)
        check_device(choice.quantize, placement)
        dtype, on_host = placement.precision, placement.device.type == "cpu"
        budget, speeds = free_bytes(placement.device), measure_speeds(placement)
        where = f"{placement.device} of this machine, {budget / 1e9:.1f} GB free"
    else:
        dtype = "bf16" if choice.dtype == "auto" else choice.dtype
        budget, speeds, where = vram, assume_speeds(vram), f"a card of {vram / 1e9:.1f} GB"
    request = Request(*size_px, dtype, on_host=on_host, guided=guided, sources=sources)
    return _propose(checkpoint, compressed(request, checkpoint, choice.quantize), budget, speeds, where, steps)


def _propose(
    checkpoint: Checkpoint, request: Request, budget: float, speeds: Speeds, where: str, steps: int
) -> Proposal:
    planner = Planner.of(checkpoint, request)
    plans = {f"--memory {mode}": plan for mode, plan in PLANS.items() if mode != "stream" or all(request.streamable)}
    chosen = ""
    try:
        best = planner.choose(budget)
        chosen = next((name for name, plan in plans.items() if plan == best), "")
        advice = f"--memory auto takes {chosen or 'this'}."
        if not chosen:
            chosen = f"--memory auto ({_words(best, planner)})"
            plans[chosen] = best
    except OutOfMemory as error:
        advice = f"Nothing fits: {error.message}."
    ways = compare(checkpoint, request, budget, speeds, steps)
    taken = worth_taking(ways)
    advice += f" --quantize auto takes {taken.quantize if taken else NONE}."
    settings = []
    for name, plan in plans.items():
        times, (ar, dit) = estimate_times(planner, plan, speeds, steps), planner.needs(plan)
        why = f"tokens: {times.why_tokens}; picture: {times.why_picture}"
        seconds = (times.load, times.tokens, times.picture)
        settings.append(Setting(name, ar.peak, dit.peak, planner.fits(plan, budget), name == chosen, *seconds, why))
    headline = _headline(checkpoint, request, speeds, where, steps)
    return Proposal(headline, budget, *planner.needs(PLANS["stage"]), settings, ways, chosen, advice)


def _headline(checkpoint: Checkpoint, request: Request, speeds: Speeds, where: str, steps: int) -> str:
    guidance = "guided" if request.guided else "without guidance"
    compressed = "" if set(request.quantize) == {NONE} else f" ({', '.join(request.quantize)} layers)"
    sources = ", ".join(f"{width}x{height}" for height, width in request.sources)
    size = f"{request.width}x{request.height}{f' from {sources}' if sources else ''}"
    return (
        f"{checkpoint.id}, {size}, {request.dtype}{compressed}, {steps} steps {guidance}, on {where}\n"
        f"speeds ({speeds.source}): {speeds.flops / 1e12:.2f} TFLOP/s, memory {speeds.memory / 1e9:.0f} GB/s, "
        f"files {speeds.files / 1e9:.0f} GB/s"
    )


def _words(plan: MemoryPlan, planner: Planner) -> str:
    """What a plan between the named settings does."""
    ar, dit = plan.ar, plan.dit
    parts = {
        f"{ar.resident} of {planner.ar.layers} AR layers stay": ar.resident is not None,
        f"{dit.resident} of {planner.dit.blocks} DiT blocks stay": dit.resident is not None,
        "parts of stage 2 take turns": dit.taking_turns,
        "VAE in strips": dit.vae_strips,
    }
    return ", ".join(words for words, holds in parts.items() if holds)
