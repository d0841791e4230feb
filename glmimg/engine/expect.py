"""What a run will take, said before anything loads: memory and time, if possible without torch; compressed weights."""

from __future__ import annotations

import sys
from pathlib import Path

from glmimg.choice import ModelChoice
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages, Needs
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.compression import FAR_SLOWER, Way, compressed, worth_taking
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import PLANS
from glmimg.runtime.machine import free_host_bytes
from glmimg.runtime.plan import Planner
from glmimg.runtime.quantize import AUTO, NONE
from glmimg.runtime.speed import estimate_times, measure_host

ACCELERATORS = ("nvidia*", "kfd", "dri/render*", "dxg", "accel*")
"""Device files under /dev, one of which every accelerator has that torch knows on Linux."""


def expect(stages: CheckpointStages, scope: Scope) -> Needs:
    """What the stages need for the largest picture of a run. Raises ModelUnfit (exit 4), OutOfMemory (exit 5)."""
    choice, checkpoint = stages.choice, stages.checkpoint
    if choice.quantize != NONE or choice.lora or not is_host(choice.device):
        return stages.needs(scope)
    request = Request(
        *(scope.height, scope.width, "fp32" if choice.dtype == "auto" else choice.dtype),
        on_host=True,
        guided=scope.guided,
        sources=scope.sources,
        one_batch=scope.one_batch,
    )
    planner, free = Planner.of(checkpoint, compressed(request, checkpoint, NONE)), free_host_bytes()
    plan = planner.choose(free) if choice.memory == "auto" else PLANS[choice.memory]
    ar, dit = planner.needs(plan)
    times = estimate_times(planner, plan, measure_host(), round(scope.steps))
    return Needs(ar.peak, dit.peak, free, "cpu", choice.memory == "resident", (times.tokens, times.picture))


def is_host(device: str) -> bool:
    """Whether everything is certainly computed on the CPU, so that torch is not needed to tell."""
    if device != "auto":
        return device == "cpu"
    return sys.platform == "linux" and not any(found for name in ACCELERATORS for found in Path("/dev").glob(name))


def settled(checkpoint: Checkpoint, choice: ModelChoice, scope: Scope) -> ModelChoice:
    """The choice with a way to compress in the place of `auto`: none where exact weights fit without streaming."""
    if choice.quantize != AUTO:
        return choice
    exact = choice.model_copy(update={"quantize": NONE})
    way = worth_taking(CheckpointStages(checkpoint, exact).ways(scope), installed=True)
    return exact if way is None else exact.model_copy(update={"quantize": way.quantize})


def far_faster(stages: CheckpointStages, scope: Scope) -> tuple[Way, Way] | None:
    """Exact weights as they would be streamed, and compressed ones that take a tenth of the time; None for others."""
    ways = stages.ways(scope) if stages.choice.quantize == NONE else []
    way = worth_taking(ways, FAR_SLOWER)
    return (ways[0], way) if way is not None and ways[0].fits else None
