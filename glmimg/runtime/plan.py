"""Planning: the fastest memory setting that fits a device, found without loading anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from glmimg.errors import OutOfMemory
from glmimg.runtime.checkpoint import Checkpoint, Half
from glmimg.runtime.estimate import Need, Request, ar_need, dit_need
from glmimg.runtime.layout import PLANS, Layout, MemoryPlan
from glmimg.runtime.sizes import ARSizes, DiTSizes, ar_sizes, dit_sizes
from glmimg.runtime.stream import WINDOW

MARGIN = 0.05
"""Share of the device left free: allocators do not pack perfectly."""


@dataclass(frozen=True)
class Planner:
    """Plans for one checkpoint and one request."""

    ar: ARSizes
    dit: DiTSizes
    request: Request

    @classmethod
    def of(cls, checkpoint: Checkpoint, request: Request) -> Planner:
        """From a checkpoint's configurations. Raises ModelUnfit (exit 4)."""
        return cls(ar_sizes(checkpoint), dit_sizes(checkpoint), request)

    def needs(self, plan: MemoryPlan) -> tuple[Need, Need]:
        """Peaks of both stages; with `resident` each stage also carries the other's weights."""
        ar, dit = ar_need(self.ar, self.request, plan.ar), dit_need(self.dit, self.request, plan.dit)
        if plan.mode == "resident":
            both = ar.weights + dit.weights
            return replace(ar, weights=both), replace(dit, weights=both)
        return ar, dit

    def fits(self, plan: MemoryPlan, budget: float) -> bool:
        """Whether both stages stay under `budget` bytes."""
        return max(need.peak for need in self.needs(plan)) <= budget * (1 - MARGIN)

    def choose(self, budget: float) -> MemoryPlan:
        """The fastest plan that fits `budget` bytes of device memory.

        raises: OutOfMemory (exit 5), with the least memory that would do
        """
        return named(fit_ar(self.ar, self.request, budget), fit_dit(self.dit, self.request, budget))


def fit_ar(sizes: ARSizes, request: Request, budget: float) -> Layout:
    """The fastest layout of the AR half in `budget` bytes: all layers stay, or ever fewer. Raises as `choose`."""
    layouts = [Layout()]
    if request.streamable[0]:
        layouts += [Layout(resident=resident) for resident in range(sizes.layers - WINDOW - 1, -1, -1)]
    return _first_fit(layouts, lambda layout: ar_need(sizes, request, layout).peak, budget, "stage 1")


def fit_dit(sizes: DiTSizes, request: Request, budget: float) -> Layout:
    """The fastest layout of stage 2: parts together, in turns, the VAE in strips, then ever fewer blocks stay."""
    plain, strips = Layout(taking_turns=True), Layout(taking_turns=True, vae_strips=True)
    layouts = [Layout(), plain, strips]
    if request.streamable[1]:
        fewer = range(sizes.blocks - WINDOW - 1, -1, -1)
        layouts += [replace(layout, resident=resident) for layout in (plain, strips) for resident in fewer]
    return _first_fit(layouts, lambda layout: dit_need(sizes, request, layout).peak, budget, "stage 2")


def _first_fit(layouts: Sequence[Layout], peak: Callable[[Layout], float], budget: float, stage: str) -> Layout:
    for layout in layouts:
        if peak(layout) <= budget * (1 - MARGIN):
            return layout
    least = min(map(peak, layouts)) / (1 - MARGIN)
    raise OutOfMemory(
        f"{budget / 1e9:.1f} GB are not enough for {stage}: its smallest plan needs {least / 1e9:.1f} GB",
        "Use a smaller --size, --dtype bf16, or --device cpu.",
        is_planned=True,
    )


def named(ar: Layout, dit: Layout) -> MemoryPlan:
    """The plan of two layouts under the name of the mode it belongs to."""
    if ar.resident is not None or dit.resident is not None:
        return MemoryPlan("stream", ar, dit)
    return MemoryPlan("offload" if dit.taking_turns else "stage", ar, dit)


def smaller(half: Half, layout: Layout) -> Layout | None:
    """What to try if a layout of a stage was too large; None if there is nothing smaller."""
    if half == "dit" and not layout.taking_turns:
        return Layout(taking_turns=True, vae_strips=True)
    least = PLANS["stream"].of(half)
    return None if layout == least else least
