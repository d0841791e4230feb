"""Exact and compressed settings side by side: what fits, about how long it takes, what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from glmimg.errors import OutOfMemory, UsageError
from glmimg.runtime.checkpoint import BACKBONES, Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import MemoryPlan
from glmimg.runtime.plan import Planner
from glmimg.runtime.quantize import NONE, check_device, lacks, parse_quantize
from glmimg.runtime.speed import Speeds, estimate_times

WAYS = (NONE, "ar=int8", "ar=int4", "ar=nf4", "int8", "ar=int4,dit=int8", "fp8", "nf4")
"""What is compared, from the nearest to exact to the farthest."""

FAR_SLOWER = 10.0
"""How many times slower than a compressed setting an exact one has to be for a command to say so."""

WORTH = 2.0
"""How many times slower than a compressed setting one that streams has to be for `auto` to compress."""

ABOUT = 1.1
"""Times that differ by less are not told apart."""


@dataclass(frozen=True)
class Way:
    """One way to compress, in the fastest memory setting that fits; without one, `fits` is False and times are of none.

    changes: what comes out otherwise than from exact weights: nothing, tokens, pixels, or both
    plan:    how the halves lie then
    """

    quantize: str
    fits: bool
    ar_peak: float
    dit_peak: float
    load_s: float
    tokens_s: float
    picture_s: float
    changes: str
    plan: MemoryPlan | None

    @property
    def seconds(self) -> float:
        return self.load_s + self.tokens_s + self.picture_s


def compressed(request: Request, checkpoint: Checkpoint, text: str) -> Request:
    """The request with such a way to compress. What is compressed, by it or in its files, cannot be streamed."""
    ways = parse_quantize(text)
    ar, dit = (ways[half] == NONE and checkpoint.compressed_by(part) is None for half, part in BACKBONES.items())
    return replace(request, quantize=(ways["ar"], ways["dit"]), streamable=(ar, dit))


def compare(
    checkpoint: Checkpoint,
    request: Request,
    budget: float,
    speeds: Speeds,
    steps: int,
    placement: Placement | None = None,
) -> list[Way]:
    """Every way to compress for `budget` bytes, exact weights first. A checkpoint that comes compressed has one.

    placement: the device, where it is here: ways it has no kernels for are left out
    """
    is_plain = all(checkpoint.compressed_by(part) is None for part in BACKBONES.values())
    ways = [way for way in (WAYS if is_plain else WAYS[:1]) if placement is None or _runs_on(placement, way)]
    return [_way(checkpoint, request, way, budget, speeds, steps) for way in ways]


def _runs_on(placement: Placement, way: str) -> bool:
    try:
        check_device(way, placement)
    except UsageError:
        return False
    return True


def _way(checkpoint: Checkpoint, request: Request, text: str, budget: float, speeds: Speeds, steps: int) -> Way:
    ways = parse_quantize(text)
    planner = Planner.of(checkpoint, compressed(request, checkpoint, text))
    changes = " and ".join({"ar": "tokens", "dit": "pixels"}[half] for half, way in ways.items() if way != NONE)
    try:
        plan = planner.choose(budget)
    except OutOfMemory:
        return Way(text, False, 0, 0, 0, 0, 0, changes or "nothing", None)
    (ar, dit), times = planner.needs(plan), estimate_times(planner, plan, speeds, steps)
    seconds = (times.load, times.tokens, times.picture)
    return Way(text, True, ar.peak, dit.peak, *seconds, changes or "nothing", plan)


def worth_taking(ways: Sequence[Way], slower: float = WORTH, *, installed: bool = False) -> Way | None:
    """A compressed way, if the exact one has to stream and takes `slower` times as long, or fits nowhere.

    Of those that take about the least time it is the one nearest to exact.
    installed: only ways whose library is here
    """
    if not ways:
        return None
    exact, *others = ways
    if exact.plan is not None and exact.plan.mode != "stream":
        return None
    fitting = [way for way in others if way.fits and not (installed and lacks(way.quantize))]
    least = min((way.seconds for way in fitting), default=0.0)
    best = next((way for way in fitting if way.seconds <= least * ABOUT), None)
    return best if best is not None and (not exact.fits or exact.seconds > slower * best.seconds) else None
