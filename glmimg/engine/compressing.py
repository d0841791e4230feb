"""What `--quantize auto` takes for a run, and whether compressing would be far faster than the streaming it has."""

from __future__ import annotations

from glmimg.choice import ModelChoice
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.compression import FAR_SLOWER, Way, worth_taking
from glmimg.runtime.quantize import AUTO, NONE


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
