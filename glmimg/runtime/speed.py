"""Estimates of how long loading and each stage take, and what limits them.

Three speeds decide: arithmetic (the DiT), memory (the AR half reads all its weights for every token) and files to
device (streamed layers). They are measured on this machine or assumed for a card of a given size. Either way the
result is an estimate to choose settings by.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from glmimg.runtime.device import Placement
from glmimg.runtime.estimate import dit_tokens, layers_present, patches, source_tokens, vae_levels
from glmimg.runtime.layout import Layout, MemoryPlan
from glmimg.runtime.plan import Planner
from glmimg.runtime.sizes import DiTSizes

LAYER_LAUNCH_SECONDS = 0.25e-3
"""Host time to launch the kernels of one text layer, which bounds small batches on fast cards."""


EAGER_LAYER_SECONDS = 1e-3
"""The same where the pass is no graph: 30 ms a token were measured for 40 plain layers, 42 to 47 for compressed."""

MOVED = {"int8": 5.0, "fp8": 21.0, "int4": 0.56, "nf4": 0.56}
"""Bytes an accelerator moves for a compressed weight at each token: torchao widens int8 and fp8 at every call. Counted
on the pretended card; nf4 assumed."""


@dataclass(frozen=True)
class Speeds:
    """What a machine reaches: FLOP/s of large matrix products, bytes/s of memory, of files to the device.

    source: printed beside the numbers, such as "measured here"
    """

    flops: float
    memory: float
    files: float
    source: str


# Sustained, about half of what makers state for cards of such a size (consumer ones up to 24 GB).
ASSUMED = [
    (10e9, Speeds(25e12, 200e9, 6e9, "assumed for a card of 8 GB")),
    (14e9, Speeds(35e12, 270e9, 8e9, "assumed for a card of 12 GB")),
    (20e9, Speeds(50e12, 350e9, 10e9, "assumed for a card of 16 GB")),
    (40e9, Speeds(90e12, 700e9, 12e9, "assumed for a card of 24 GB")),
    (64e9, Speeds(120e12, 700e9, 12e9, "assumed for a card of 48 GB")),
    (float("inf"), Speeds(350e12, 2500e9, 20e9, "assumed for a data-centre card of 80 GB")),
]


@dataclass(frozen=True)
class Times:
    """Seconds per picture, and what limits each stage."""

    load: float
    tokens: float
    picture: float
    why_tokens: str
    why_picture: str


def assume_speeds(vram_bytes: float) -> Speeds:
    """Speeds of a typical card with so much memory."""
    return next(speeds for limit, speeds in ASSUMED if vram_bytes < limit)


def measure_speeds(placement: Placement) -> Speeds:
    """Speeds of this machine's device, from a matrix product and a copy that take well under a second."""
    import torch

    if placement.device.type == "cpu":
        return measure_host()
    side, count = 8192, 512_000_000
    left = torch.ones(side, side, device=placement.device, dtype=placement.dtype)
    data = torch.ones(count, device=placement.device, dtype=torch.float32)
    flops = 2 * side**3 / _seconds(lambda: left @ left, placement)
    memory = 2 * 4 * count / _seconds(lambda: data.clone(), placement)
    return Speeds(flops, memory, 10e9, "measured here")


def measure_host() -> Speeds:
    """Speeds of the processor, measured in the same way without torch."""
    import numpy

    side, count = 768, 16_000_000
    left, data = numpy.ones((side, side), numpy.float32), numpy.ones(count, numpy.float32)
    flops = 2 * side**3 / _seconds(lambda: left @ left)
    return Speeds(flops, 2 * 4 * count / _seconds(data.copy), 2e9, "measured here")


def _seconds(run: Callable[[], object], placement: Placement | None = None) -> float:
    """The shortest of three runs, on an accelerator or on the host."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        if placement is not None:
            import torch

            torch.accelerator.synchronize(placement.device)
        times.append(time.perf_counter() - started)
    return min(times)


def estimate_times(planner: Planner, plan: MemoryPlan, speeds: Speeds, steps: int) -> Times:
    """Estimated time of a picture under a plan."""
    tokens, why_tokens = _token_seconds(planner, plan.ar, speeds)
    picture, why_picture = _picture_seconds(planner, plan.dit, speeds, steps)
    return Times(_loaded_bytes(planner, plan) / speeds.files, tokens, picture, why_tokens, why_picture)


def _loaded_bytes(planner: Planner, plan: MemoryPlan) -> float:
    """What comes from files once: everything but the streamed layers."""
    ar, dit, request = planner.ar, planner.dit, planner.request
    layers = ar.layer * request.layer_weight("ar") * layers_present(ar.layers, plan.ar)
    blocks = dit.block * request.layer_weight("dit") * layers_present(dit.blocks, plan.dit)
    plain = ar.rest + ar.visual * ar.hidden + dit.rest + dit.text_encoder + dit.decoder
    return layers + blocks + plain * request.scalar


def _token_seconds(planner: Planner, layout: Layout, speeds: Speeds) -> tuple[float, str]:
    sizes, request = planner.ar, planner.request
    way, layer = request.quantize[0], sizes.layer * request.layer_weight("ar")
    weight = request.layer_weight("ar") if request.on_host else MOVED.get(way, request.scalar)
    reading = (sizes.layer * sizes.layers + sizes.rest) * weight / speeds.memory
    is_graph = request.dtype != "fp32" and layout.resident is None and way != "nf4" and sizes.stored is None
    launching = sizes.layers * (LAYER_LAUNCH_SECONDS if is_graph or request.on_host else EAGER_LAYER_SECONDS)
    streaming = layer * _streamed(sizes.layers, layout) / speeds.files
    slowest = max(reading, launching, streaming)
    widened = ", widened each time" if weight > request.scalar else ""
    why = {reading: f"reading every weight for every token{widened}", launching: "launching small kernels"}
    prefill = 2.0 * sizes.layer * sizes.layers * request.prompt_tokens / speeds.flops
    return prefill + request.new_tokens * slowest, why.get(slowest, "reading layers from files for every token")


def _picture_seconds(planner: Planner, layout: Layout, speeds: Speeds, steps: int) -> tuple[float, str]:
    sizes, request = planner.dit, planner.request
    passes = 2 if request.guided else 1
    rows, read = dit_tokens(sizes, request), source_tokens(sizes, request)
    # The guided row alone attends to the sources.
    computing = (_pass_flops(sizes, rows, rows + read) + (passes - 1) * _pass_flops(sizes, rows, rows)) / speeds.flops
    streaming = sizes.block * request.layer_weight("dit") * _streamed(sizes.blocks, layout) / speeds.files
    why = f"{steps} steps of {passes} compute-bound passes"
    if streaming >= computing:
        why = "reading blocks from files at every step"
    each = [patches(sizes, *source) for source in request.sources]
    reading = sum(max(_pass_flops(sizes, count, count) / speeds.flops, streaming) for count in each)
    return reading + steps * max(computing, streaming) + _vae_flops(planner) / speeds.flops, why


def _streamed(layers: int, layout: Layout) -> int:
    return 0 if layout.resident is None else layers - layout.resident


def _pass_flops(sizes: DiTSizes, rows: int, seen: int) -> float:
    """Operations of one pass through the DiT: its linear layers on `rows`, and their attention to `seen`."""
    return sizes.blocks * (2.0 * sizes.block * rows + 4.0 * rows * seen * sizes.hidden)


def _vae_flops(planner: Planner) -> float:
    """Operations of decoding the latents: about eight 3x3 convolutions at each resolution."""
    levels = vae_levels(planner.dit, planner.request.height * planner.request.width)
    return sum(2 * 9 * channels * channels * 8 * area for channels, area in levels)
