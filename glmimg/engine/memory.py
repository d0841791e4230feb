"""How the engine places weights: what was asked for, or what fits; and what it says when memory runs out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from glmimg.choice import ModelChoice
from glmimg.errors import OutOfMemory, UsageError
from glmimg.job import Painting
from glmimg.runtime.checkpoint import BACKBONES, Checkpoint, Half
from glmimg.runtime.device import Placement
from glmimg.runtime.estimate import Request, ar_need, dit_need
from glmimg.runtime.layout import PLANS, Layout
from glmimg.runtime.lora import Lora, check_fits, find_loras
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import fit_ar, fit_dit, smaller_ar, smaller_dit
from glmimg.runtime.precompressed import IN_HALF_PRECISION
from glmimg.runtime.quantize import NONE, check_device, check_installed, parse_quantize
from glmimg.runtime.sizes import ar_sizes, dit_sizes

if TYPE_CHECKING:
    from pathlib import Path

AHEAD_SHARE = 0.6
"""Share of the free host memory that files of the second stage may fill while the first one works."""


@dataclass(frozen=True)
class MemoryKeeper:
    """Decides layouts for the runs of one engine. Raises UsageError (exit 2) for a compression that cannot be."""

    checkpoint: Checkpoint
    choice: ModelChoice
    placement: Placement

    def __post_init__(self) -> None:
        check_device(self.choice.quantize, self.placement)
        for half, part in BACKBONES.items():
            self._check_compressed_once(half, part)

    @property
    def is_auto(self) -> bool:
        return self.choice.memory == "auto"

    def layout(self, half: Half, request: Request) -> Layout:
        """How a half shall lie on the device for the largest picture asked for.

        raises: OutOfMemory (exit 5) before any weight loads, if nothing fits
        """
        if not self.is_auto:
            plan = PLANS[self.choice.memory]
            layout = plan.ar if half == "ar" else plan.dit
        else:
            free = free_bytes(self.placement.device)
            if half == "ar":
                layout = fit_ar(ar_sizes(self.checkpoint), request, free)
            else:
                layout = fit_dit(dit_sizes(self.checkpoint), request, free)
        loras = tuple(lora for lora in self.loras if lora.half == half)
        return replace(layout, quantize=parse_quantize(self.choice.quantize)[half], loras=loras)

    def smaller(self, half: Half, layout: Layout) -> Layout | None:
        """The layout to try after one that ran out of memory; None without `auto`, or when it was the last."""
        if not self.is_auto or layout.quantize != NONE or layout.loras:
            return None
        return smaller_ar(layout) if half == "ar" else smaller_dit(layout)

    def request(
        self,
        sizes_px: Iterable[tuple[int, int]],
        *,
        guided: bool,
        with_sources: bool = False,
        one_batch: bool = False,
    ) -> Request:
        """The largest of several pictures, as the estimate wants to know it."""
        height, width = max(sizes_px, key=lambda size: size[0] * size[1])
        ways = parse_quantize(self.choice.quantize)
        return Request(
            height,
            width,
            self.placement.precision,
            on_host=self.placement.device.type == "cpu",
            guided=guided,
            with_sources=with_sources,
            quantize=(ways["ar"], ways["dit"]),
            streamable=(self._streamable("ar"), self._streamable("dit")),
            one_batch=one_batch,
        )

    @cached_property
    def loras(self) -> list[Lora]:
        return find_loras(self.choice.lora)

    def check_loras(self, *halves: Half) -> None:
        """Refuse adapters made for another model, before weights load. Raises BadInput (exit 3)."""
        for lora in self.loras:
            if lora.half in halves:
                check_fits(lora, self.checkpoint)

    def _check_compressed_once(self, half: Half, part: str) -> None:
        """Refuse to compress, stream or run in fp32 what comes compressed. Raises UsageError (exit 2)."""
        method = self._comes_compressed(part)
        if method in IN_HALF_PRECISION and self.placement.dtype_name == "float32":
            raise UsageError(f"{part} comes compressed by {method}, which does not work in fp32", "Use --dtype bf16.")
        if method and parse_quantize(self.choice.quantize)[half] != NONE:
            hint = f"Leave --quantize out, or say {half}=none."
            raise UsageError(f"--quantize: {part} of {self.checkpoint.id} comes compressed by {method}", hint)
        if method and self.choice.memory == "stream":
            hint = "Use --memory auto, stage or offload."
            raise UsageError(f"--memory stream: {part} comes compressed by {method}, which cannot be streamed", hint)

    def _comes_compressed(self, part: str) -> str | None:
        there = (self.checkpoint.folder / part).is_dir()  # a worker may hold one half only
        return self.checkpoint.compressed_by(part) if there else None

    def _streamable(self, half: Half) -> bool:
        compressed = parse_quantize(self.choice.quantize)[half] != NONE or self._comes_compressed(BACKBONES[half])
        return not compressed and all(lora.half != half for lora in self.loras)

    def explain(self, half: Half, layout: Layout, request: Request) -> OutOfMemory:
        """What happened, by how much, and which setting takes less."""
        need = self.need(half, layout, request)
        free = free_bytes(self.placement.device)
        stage = "stage 1" if half == "ar" else "stage 2"
        message = f"out of memory: {stage} takes about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        hints = []
        for mode in ("offload", "stream"):
            less = self.need(half, PLANS[mode].ar if half == "ar" else PLANS[mode].dit, request)
            if less < need:
                hints.append(f"--memory {mode} takes about {less / 1e9:.1f} GB")
        advice = f"{' and '.join(hints)}. " if hints else ""
        return OutOfMemory(message, f"{advice}A smaller --size takes less too; glmimg models plan shows how much.")

    def need(self, half: Half, layout: Layout, request: Request) -> float:
        """Estimated peak of a half in bytes."""
        if half == "ar":
            return ar_need(ar_sizes(self.checkpoint), request, layout).peak
        return dit_need(dit_sizes(self.checkpoint), request, layout).peak

    def files_of_stage_2(self) -> list[Path]:
        """What stage 2 will read, in that order."""
        return [file for part in ("text_encoder", "transformer", "vae") for file in self.checkpoint.weight_files(part)]


def describe(layout: Layout) -> str:
    """A layout in words, for notes."""
    words = []
    if layout.resident is not None:
        words.append(f"{layout.resident} layers stay on the device, the others are streamed")
    if layout.taking_turns:
        words.append("parts take turns")
    if layout.vae_tiles:
        words.append("the VAE paints in squares")
    return ", ".join(words) or "all on the device"


def check_changes(choice: ModelChoice) -> None:
    """Refuse compression, adapters and compilation that cannot be, before anything loads.

    raises: UsageError (exit 2), BadInput (exit 3)
    """
    check_installed(choice.quantize)
    changed = "--quantize" if set(parse_quantize(choice.quantize).values()) != {NONE} else ""
    changed = "--lora" if choice.lora else changed
    changed = "--compile" if choice.compile else changed
    if choice.memory == "stream" and changed:
        raise UsageError(f"--memory stream and {changed} do not go together", "Leave one of them out.")
    find_loras(choice.lora)


def check_extras(paintings: Iterable[tuple[Painting, bool]]) -> None:
    """Refuse paintings that cannot be, and --cache without its library.

    paintings: each with whether there are source pictures
    raises: UsageError (exit 2)
    """
    for painting, with_sources in paintings:
        if (conflict := painting.conflict(with_sources=with_sources)) is not None:
            raise conflict
        if painting.cache is not None and find_spec("cache_dit") is None:
            hint = "Install it: pip install 'glmimg[cache]'"
            raise UsageError("--cache needs cache-dit, which is not installed", hint)
