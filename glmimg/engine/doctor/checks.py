"""The demo drawn on a device beside the host, and each fast path there beside the plain one.

Every trial ends in a distance and the bound it is held against. Stage 1 is told the host's tokens and compared by its
logits: the length of their difference as a share of their own (of what they deviate from their mean). Stage 2 is
handed the host's noise and compared by its picture: the mean difference in levels of 255.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from glmimg.choice import NATIVE, ModelChoice
from glmimg.dit.backends import usable_backends
from glmimg.engine.complete import complete
from glmimg.engine.doctor.handed import HandedPainter, HandedTokens
from glmimg.engine.doctor.stock import stock_picture, stock_tokens
from glmimg.errors import GlmimgError, UsageError
from glmimg.events import unwatched
from glmimg.runtime.checkpoint import HALVES, Half
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.runtime.machine import is_out_of_memory
from glmimg.runtime.quantize import BACKENDS, check_device, check_installed
from glmimg.runtime.resolve import DEMO, resolve
from glmimg.text import excerpt
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image

CASE = {"prompt": "a red circle on a blue background", "seed": 3, "steps": 4}
WINDOW = 16
"""Tokens a pass of Jacobi decoding reads here."""

TOLD, FEW = 320, 64
"""Tokens told to a way of going through them: all there are. And to one whose weights lie otherwise."""

KERNELS = "attention"
"""How the ways begin that nothing takes unasked: one that raises an error is no fault of the machine."""

EXACT, HALF = "exact", "half precision"
SAGE = "sage"
"""In the names of attention kernels that multiply in 8 bits; how far those are from the others was not measured."""

BOUNDS: dict[Half, dict[str, float]] = {
    "ar": {EXACT: 1e-4, HALF: 0.05, "int8": 0.08, "fp8": 0.15, "int4": 0.4, "nf4": 0.4},
    "dit": {EXACT: 0.05, HALF: 0.5, "int8": 0.5, "fp8": 0.8, "int4": 2.0, "nf4": 2.0, SAGE: 2.0},
}
"""The demo on a CPU measured, in this order: 1.1e-6, 0.011 (bf16), 0.016, 0.052, 0.18, 0.18; and in levels 0, 0.044
(bf16), 0.025, 0.089, 0.42, 0.51. A pass that reads stale values is about 1 and some tens of levels away."""

Trial = tuple[str, Callable[[], float]]
"""A way, and what finds its distance."""


@dataclass(frozen=True)
class Check:
    """What came of one way of drawing.

    way:      "host" is the plain one there beside the stock libraries, "device" in fp32 beside the host, "plain" as
              commands draw; the others are held against that one
    distance: None where it did not come to that
    note:     why it was skipped, how it failed
    """

    half: Half
    way: str
    state: Literal["right", "wrong", "failed", "skipped"]
    distance: float | None = None
    bound: float = 0.0
    note: str = ""
    seconds: float = 0.0

    @property
    def is_bad(self) -> bool:
        return self.state in ("wrong", "failed")


class Checks:
    """The checks of one device. placement: as commands would draw there; compiled: also the compiled ways"""

    def __init__(self, placement: Placement, *, compiled: bool) -> None:
        self.checkpoint, self.placement, self.compiled = resolve(DEMO), placement, compiled
        self.job = complete(CASE, self.checkpoint)
        self.on_host = Placement(torch.device("cpu"), torch.float32)
        self.is_lost = False  # whether the device answers no longer
        self.in_fp32 = replace(placement, dtype=torch.float32)

    def run(self) -> Iterator[Check]:
        """Each check when it is done. Where the device answers no longer, that is the last one."""
        for half, trials in zip(HALVES, (self._tokens(), self._pictures()), strict=True):
            try:
                for way, find in trials:
                    yield (check := self._judge(half, way, find))
                    if check.distance is None and not self._answers():
                        self.is_lost = True
                        yield Check(half, "plain", "failed", note=f"the device no longer answers after {way}")
                        return
            except Exception as error:
                yield Check(half, "plain", "failed", note=reason(error))
                return

    def bound(self, half: Half, way: str) -> float:
        """The largest distance that is right."""
        bounds = BOUNDS[half]
        if way in ("host", "device"):
            return 0.0 if half == "ar" else bounds[EXACT]
        rounded, kind = bounds[EXACT if self.placement.precision == "fp32" else HALF], SAGE if SAGE in way else way
        return max(bounds.get(kind, 0.0), rounded)

    def _judge(self, half: Half, way: str, find: Callable[[], float]) -> Check:
        started = time.perf_counter()
        try:
            if way in BACKENDS:
                check_installed(way)
                check_device(way, self.placement)
            distance = find()
        except Exception as error:
            cannot_be = isinstance(error, UsageError) or is_out_of_memory(error) or way.startswith(KERNELS)
            return Check(half, way, "skipped" if cannot_be else "failed", note=reason(error))
        bound, seconds = self.bound(half, way), round(time.perf_counter() - started, 2)
        return Check(half, way, "right" if distance <= bound else "wrong", distance, bound, seconds=seconds)

    def _tokens(self) -> Iterator[Trial]:
        host = self._load_tokens(self.on_host)
        (self.dump,) = host.write([TokenWork(self.job)], unwatched)
        drawn_here, scene = _ids(self.dump), self.job.scene
        ids = drawn_here[:TOLD]
        yield "host", lambda: _differing(ids, stock_tokens(host, self.job, len(ids)))
        reference = host.logits(scene, ids)
        host.close()

        def lying(placement: Placement, layout: Layout, find: Callable[[HandedTokens], float]) -> float:
            stage = self._load_tokens(placement, layout)
            try:
                return find(stage)
            finally:
                stage.close()

        def drawn(stage: HandedTokens) -> float:
            return _differing(drawn_here, _ids(stage.write([TokenWork(self.job)], unwatched)[0]))

        if self.placement.device.type != "cpu":
            yield "device", lambda: lying(self.in_fp32, Layout(), drawn)
        stage = self._load_tokens(self.placement)
        plain = stage.logits(scene, ids)
        if self.placement != self.on_host:
            yield "plain", lambda: _apart(plain, reference)
        stage.is_static = True
        static = "graph" if self.placement.device.type == "cuda" else "static"
        yield static, lambda: _apart(stage.logits(scene, ids), plain)
        yield "jacobi", lambda: _apart(stage.logits_by_windows(scene, ids, WINDOW), plain)
        if self.compiled:
            stage.is_static, stage.choice = False, ModelChoice(compile=True)
            yield "compiled", lambda: _apart(stage.logits(scene, ids), plain)
        stage.close()

        def told_few(stage: HandedTokens) -> float:
            return _apart(stage.logits(scene, ids[:FEW]), plain[:FEW])

        for way, layout in _layouts():
            yield way, partial(lying, self.placement, layout, told_few)

    def _pictures(self) -> Iterator[Trial]:
        host, painting = self._load_painter(self.on_host), self.job.painting
        reference = host.paint(self.dump, painting, unwatched)
        yield "host", lambda: _levels(reference, stock_picture(host, self.dump, painting))
        host.close()

        def painted(placement: Placement, layout: Layout = Layout(), **ways: Any) -> Image:
            stage = self._load_painter(placement, layout, **ways)
            try:
                with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                    return stage.paint(self.dump, painting, unwatched)
            finally:
                stage.close()

        if self.placement.device.type != "cpu":
            yield "device", lambda: _levels(reference, painted(self.in_fp32))
        plain = painted(self.placement)
        if self.placement != self.on_host:
            yield "plain", lambda: _levels(reference, plain)

        def beside_plain(layout: Layout) -> float:
            return _levels(plain, painted(self.placement, layout))

        if self.compiled:
            yield "compiled", lambda: _levels(plain, painted(self.placement, compile=True))

        def attended(backend: str) -> float:
            return _levels(plain, painted(self.placement, attention=backend))

        for backend in self._backends():
            yield f"{KERNELS} {backend}", partial(attended, backend)
        for way, layout in _layouts():
            yield way, partial(beside_plain, layout)

    def _backends(self) -> list[str]:
        """Attention kernels that run here, without torch's own choice."""
        width = int(self.checkpoint.config("transformer")["attention_head_dim"])
        return [name for name in usable_backends(self.placement, width) if name != NATIVE]

    def _load_tokens(self, placement: Placement, layout: Layout = Layout()) -> HandedTokens:
        choice = ModelChoice(compile=False)
        return HandedTokens(self.checkpoint, placement, unwatched, choice=choice, layout=layout, with_vision=False)

    def _load_painter(self, placement: Placement, layout: Layout = Layout(), **ways: Any) -> HandedPainter:
        """ways: of `DiTStage.load`"""
        return HandedPainter.load(self.checkpoint, placement, unwatched, layout=layout, with_encoder=False, **ways)

    def _answers(self) -> bool:
        """Whether the device still computes: some faults leave a process nothing but errors."""
        try:
            return bool((torch.ones(2, device=self.placement.device) + 1).sum().item() == 4)
        except RuntimeError:
            return False


def _layouts() -> Iterator[tuple[str, Layout]]:
    """What may be done to weights as they are loaded."""
    yield "streamed", Layout(resident=0)
    for way in BACKENDS:
        yield way, Layout(quantize=way)


def _ids(dump: TokenDump) -> list[int]:
    return [token for grid in dump.grids for token in grid.flat()]


def _differing(ours: Sequence[int], theirs: Sequence[int]) -> float:
    return float(sum(one != other for one, other in zip(ours, theirs, strict=True)))


def _apart(said: torch.Tensor, reference: torch.Tensor) -> float:
    """Logits, [tokens, vocabulary] each."""
    deviation = reference - reference.mean(-1, keepdim=True)
    return float((said - reference).norm() / deviation.norm())


def _levels(one: Image, other: Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def reason(error: Exception) -> str:
    """What went wrong, in a line."""
    if isinstance(error, GlmimgError):
        return error.message
    return excerpt(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
