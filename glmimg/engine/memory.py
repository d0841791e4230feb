"""How the engine lays out weights in memory, as requested or as fits, and its message when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from glmimg.choice import ModelChoice
from glmimg.errors import OutOfMemory, UsageError
from glmimg.job import Painting
from glmimg.runtime.checkpoint import BACKBONES, Checkpoint, Half
from glmimg.runtime.configuration import IN_HALF_PRECISION
from glmimg.runtime.device import Placement, compiles_for, lacking
from glmimg.runtime.distrust import distrusted
from glmimg.runtime.estimate import Need, Request, ar_need, dit_need
from glmimg.runtime.layout import PLANS, Layout
from glmimg.runtime.lora import Lora, check_fits, find_loras
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import fit_ar, fit_dit, smaller
from glmimg.runtime.quantize import NONE, check_device, check_installed, parse_quantize
from glmimg.runtime.sizes import ar_sizes, dit_sizes
from glmimg.text import counted, how_to_install

AHEAD_SHARE = 0.6
"""Share of the free host memory that files of the second stage may fill while the first one works."""

SIZES: dict[Half, Callable[[Checkpoint], Any]] = {"ar": ar_sizes, "dit": dit_sizes}
NEEDS: dict[Half, Callable[..., Need]] = {"ar": ar_need, "dit": dit_need}
FITS: dict[Half, Callable[..., Layout]] = {"ar": fit_ar, "dit": fit_dit}


@dataclass(frozen=True)
class HalfMemory:
    """Lays out one stage of a checkpoint on its device. Raises UsageError (exit 2) for an impossible quantization."""

    checkpoint: Checkpoint
    choice: ModelChoice
    half: Half
    placement: Placement

    def __post_init__(self) -> None:
        check_device(self.choice.quantize, self.placement)
        self._check_compressed_once()

    @property
    def way(self) -> str:
        """How this stage is quantized as it loads, or "none"."""
        return parse_quantize(self.choice.quantize)[self.half]

    @property
    def streamable(self) -> bool:
        """Whether its layers may be streamed."""
        return self.way == NONE and not self._stored_by and not self.loras

    @cached_property
    def loras(self) -> tuple[Lora, ...]:
        return tuple(lora for lora in find_loras(self.choice.lora) if lora.half == self.half)

    @cached_property
    def distrusted(self) -> dict[str, str]:
        """Ways of this half that failed their check on this machine, each with why."""
        found = distrusted(self.placement.device)
        return {path.split(" ", 1)[1]: why for path, why in found.items() if path.startswith(f"{self.half} ")}

    @property
    def trusted(self) -> ModelChoice:
        """The choice, without a compiled or captured pass that failed its check."""
        return self.choice.model_copy(update={"compile": False}) if self._pass in self.distrusted else self.choice

    @property
    def _pass(self) -> str:
        """The fast pass this choice takes where it can be had."""
        return {None: "graph", True: "compiled"}.get(self.choice.compile, "")

    @property
    def compiles_unasked(self) -> bool:
        """Whether the pass is compiled though nobody said so, as pays for the tokens of a card in half precision.

        There every way rounds otherwise than the stock pipeline, and one layer is ready in seconds.
        """
        placement = self.placement
        on_card_in_half = placement.device.type == "cuda" and placement.precision != "fp32"
        wanted = self.half == "ar" and self.trusted.compile is None and on_card_in_half and self.streamable
        return wanted and "compiled" not in self.distrusted and compiles_for(placement.device)

    @property
    def warnings(self) -> list[str]:
        """What a person should know before this half is loaded."""
        stage, again = "stage 1" if self.half == "ar" else "stage 2", "glmimg doctor --forget trusts it again"
        ways = {way: f"{stage} does without its {way} way" for way in (self._pass, "jacobi")}
        asked = f"attention {self.choice.attention}"
        ways |= {self.way: f"--quantize {self.way}", asked: f"--{asked}"}
        wrong = [text for way, text in ways.items() if way in self.distrusted]
        failed = [f"{text}, which failed its check on this machine; {again}" for text in wrong]
        return [*filter(None, [lacking(self.choice, self.placement)]), *failed]

    def layout(self, request: Request) -> Layout:
        """The layout of this stage on the device for the largest picture of the run.

        raises: OutOfMemory (exit 5) before any weight loads, if nothing fits
        """
        if self.choice.memory == "auto":
            sizes = SIZES[self.half](self.checkpoint)
            layout = FITS[self.half](sizes, request, free_bytes(self.placement.device))
        else:
            layout = PLANS[self.choice.memory].of(self.half)
        return replace(layout, quantize=self.way, loras=self.loras)

    def smaller(self, layout: Layout) -> Layout | None:
        """The layout to try after one that ran out of memory; None without `auto`, or if it was the last."""
        if self.choice.memory != "auto" or layout.quantize != NONE or layout.loras:
            return None
        return smaller(self.half, layout)

    def check_loras(self) -> None:
        """Refuse adapters made for another model, before weights load. Raises BadInput (exit 3)."""
        for lora in self.loras:
            check_fits(lora, self.checkpoint)

    def need(self, layout: Layout, request: Request) -> Need:
        """Estimated peak memory, by what uses it."""
        return NEEDS[self.half](SIZES[self.half](self.checkpoint), request, layout)

    def explain(self, layout: Layout, request: Request) -> OutOfMemory:
        """The error: what happened, how much memory was missing, and which setting needs less."""
        need, free = self.need(layout, request).peak, free_bytes(self.placement.device)
        stage = "stage 1" if self.half == "ar" else "stage 2"
        less = {mode: self.need(PLANS[mode].of(self.half), request).peak for mode in ("offload", "stream")}
        hints = [f"--memory {mode} needs about {peak / 1e9:.1f} GB" for mode, peak in less.items() if peak < need]
        advice = f"{' and '.join(hints)}. " if hints else ""
        return OutOfMemory(
            f"out of memory: {stage} needs about {need / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free",
            f"{advice}A smaller --size needs less too; glmimg models plan shows how much.",
        )

    @cached_property
    def _stored_by(self) -> str | None:
        """The method the part is already quantized with. A worker may hold only one stage."""
        part = BACKBONES[self.half]
        return self.checkpoint.compressed_by(part) if (self.checkpoint.folder / part).is_dir() else None

    def _check_compressed_once(self) -> None:
        """Refuse to quantize, stream or run in fp32 a part that is already quantized. Raises UsageError (exit 2)."""
        part, method = BACKBONES[self.half], self._stored_by
        if method in IN_HALF_PRECISION and self.placement.dtype_name == "float32":
            raise UsageError(f"{part} is quantized with {method}, which does not work in fp32", "Use --dtype bf16.")
        if method and self.way != NONE:
            hint = f"Leave --quantize out, or use {self.half}=none."
            raise UsageError(f"--quantize: {part} of {self.checkpoint.id} is quantized with {method}", hint)
        if method and self.choice.memory == "stream":
            hint = "Use --memory auto, stage or offload."
            raise UsageError(f"--memory stream: {part} is quantized with {method}, which cannot be streamed", hint)


def describe(layout: Layout) -> str:
    """A layout in words, for notes."""
    words = {
        f"{counted(layout.resident or 0, 'layer')} stay on the device, the others are streamed": layout.resident
        is not None,
        "parts take turns": layout.taking_turns,
        "the VAE decodes in strips": layout.vae_strips,
    }
    return ", ".join(word for word, holds in words.items() if holds) or "all on the device"


def check_changes(choice: ModelChoice) -> None:
    """Refuse impossible quantization, adapters and compilation, before anything loads.

    raises: UsageError (exit 2), BadInput (exit 3)
    """
    check_installed(choice.quantize)
    changed = "--quantize" if set(parse_quantize(choice.quantize).values()) != {NONE} else ""
    changed = "--lora" if choice.lora else changed
    changed = "--compile" if choice.compile else changed
    if choice.memory == "stream" and changed:
        raise UsageError(f"--memory stream cannot be combined with {changed}", "Leave one of them out.")
    find_loras(choice.lora)


def check_extras(paintings: Iterable[Painting]) -> None:
    """Refuse impossible paintings, and a cache threshold without its library. Raises UsageError (exit 2)."""
    for painting in paintings:
        if (conflict := painting.conflict()) is not None:
            raise conflict
        if isinstance(painting.cache, float) and find_spec("cache_dit") is None:
            hint = f"Use --cache light or deep, which need no extra. {how_to_install('cache')}"
            raise UsageError(f"--cache {painting.cache} needs cache-dit, which is not installed", hint)
