"""The two stages as a batch needs them, and the real ones of a checkpoint.

A batch is handed something that loads stages, so that tests can hand it stages without weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from glmimg.engine.batch.ledger import ModelId
from glmimg.engine.batches import BatchWriter, TokenWork
from glmimg.engine.failing import is_out_of_memory
from glmimg.engine.local import PaintOrder
from glmimg.engine.memory import MemoryKeeper, check_changes
from glmimg.engine.records import making_of, with_changes
from glmimg.events import Watch
from glmimg.image_io import Making
from glmimg.job import ARChoice, Job, ModelChoice, PaintSettings
from glmimg.runtime.checkpoint import HALVES, Checkpoint, Half
from glmimg.runtime.device import check_names, device_for
from glmimg.runtime.estimate import Request, ar_need
from glmimg.runtime.layout import Layout
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import MARGIN
from glmimg.runtime.sizes import ar_sizes
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image

    from glmimg.ar.stage import ARStage
    from glmimg.runtime.device import Placement


class TokenStage(Protocol):
    """Stage 1, loaded."""

    def write_all(self, jobs: Sequence[Job], watch: Watch) -> list[TokenDump]:
        """A dump for each job, in their order. A failure of one is a failure of all."""

    def close(self) -> None:
        """Free the memory."""


class PaintStage(Protocol):
    """Stage 2, loaded."""

    def paint(self, dump: TokenDump, settings: PaintSettings, watch: Watch) -> Image:
        """An RGB picture of the dump's size."""

    def close(self) -> None:
        """Free the memory."""


class Stages(Protocol):
    """Loads the stages of one model. Has to survive pickling: other processes load their own."""

    @property
    def model(self) -> ModelId:
        """Which weights these are."""

    def load_tokens(self, watch: Watch) -> TokenStage:
        """Stage 1. Raises ModelUnfit (exit 4), OutOfMemory (exit 5)."""

    def load_painter(self, watch: Watch, device: str | None = None) -> PaintStage:
        """Stage 2, on another device if one is named. Raises as `load_tokens`."""

    def making(self, dump: TokenDump, settings: PaintSettings) -> Making:
        """How a picture painted here came to be."""

    def both_fit(self) -> bool:
        """Whether both stages can be loaded at once."""

    def painting_devices(self) -> list[str]:
        """Devices beside that of stage 1 on which pictures can be painted at the same time."""


AR_BATCH = 8
"""Jobs stage 1 works on at once where nobody says another number."""


@dataclass(frozen=True)
class Scope:
    """The most a batch asks of its stages: its largest picture in pixels, guidance, source pictures, steps."""

    height: int
    width: int
    guided: bool = True
    with_sources: bool = False
    steps: float = 50

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Scope:
        """What these jobs ask for, of which there is one at least; `steps` is their mean."""
        largest = max(jobs, key=lambda job: job.height * job.width)
        guided, with_sources = any(job.guidance > 1 for job in jobs), any(job.sources for job in jobs)
        return cls(largest.height, largest.width, guided, with_sources, sum(job.steps for job in jobs) / len(jobs))


@dataclass(frozen=True)
class Needs:
    """Memory in bytes: the peak of each stage in the layout it will have, and what is free on `device`.

    both_fit: whether both stages stay loaded
    seconds:  a job takes in each stage, estimated from the speed of this machine
    """

    tokens: float
    painter: float
    free: float
    device: str
    both_fit: bool
    seconds: tuple[float, float]

    @property
    def at_once(self) -> int:
        """About what the batch takes at its height."""
        return int(self.tokens + self.painter if self.both_fit else max(self.tokens, self.painter))


@dataclass(frozen=True)
class CheckpointStages:
    """The stages of a checkpoint on this machine, laid out in memory as the choice says or as fits.

    scope:  what they will be asked for; None: pictures of the checkpoint's own size
    raises: UsageError (exit 2), BadInput (exit 3) for a choice that cannot be
    """

    checkpoint: Checkpoint
    choice: ModelChoice
    ar: ARChoice = field(default_factory=ARChoice)
    scope: Scope | None = None

    def __post_init__(self) -> None:
        check_names(self.choice)
        check_changes(self.choice)

    @cached_property
    def model(self) -> ModelId:
        return ModelId(self.checkpoint.id, self.checkpoint.fingerprint(), tuple(self.choice.changes))

    def check(self) -> None:
        """Raise ModelUnfit (exit 4) or, for an adapter of another model, BadInput (exit 3), before weights load."""
        self.checkpoint.check("ar", "dit")
        if self.choice.loras:
            self._memory.check_loras("ar", "dit")

    def load_tokens(self, watch: Watch) -> TokenStage:
        from glmimg.ar.stage import ARStage

        self.checkpoint.check("ar")
        layout, eyes = self._layout("ar", self._memory), self._scope.with_sources
        stage = ARStage.load(
            self.checkpoint, self._placement, watch, choice=self.ar, layout=layout, with_eyes=eyes or self._is_open
        )
        return _BatchedTokens(stage, self.choice.changes)

    def load_painter(self, watch: Watch, device: str | None = None) -> PaintStage:
        from glmimg.dit.stage import DiTStage
        from glmimg.runtime.device import place

        self.checkpoint.check("dit")
        placement = place(replace(self.choice, device=device)) if device else self._painting
        layout = self._layout("dit", MemoryKeeper(self.checkpoint, self.choice, placement))
        compiled = bool(self.choice.compile)
        encoder = self._scope.with_sources or self._is_open
        return DiTStage.load(self.checkpoint, placement, watch, layout=layout, with_encoder=encoder, compile=compiled)

    def making(self, dump: TokenDump, settings: PaintSettings) -> Making:
        return making_of(PaintOrder(dump, settings), self._painting, self.choice.changes)

    def both_fit(self) -> bool:
        if "," in self.choice.device:  # each has a device of its own
            return True
        if self.choice.memory != "auto":
            return self.choice.memory == "resident"
        whole = sum(self._peak(half, Layout()) for half in HALVES)
        return whole <= free_bytes(self._placement.device) * (1 - MARGIN)

    def needs(self) -> Needs:
        """What the stages take in memory and time. Raises ModelUnfit (exit 4), OutOfMemory (exit 5)."""
        from glmimg.runtime.plan import Planner, named
        from glmimg.runtime.speed import estimate_times, measure_speeds

        ar, dit = (self._layout(half, self._memory) for half in HALVES)
        planner = Planner.of(self.checkpoint, self._request(self._memory))
        times = estimate_times(planner, named(ar, dit), measure_speeds(self._placement), round(self._scope.steps))
        return Needs(
            self._peak("ar", ar),
            self._peak("dit", dit),
            free_bytes(self._placement.device),
            self._placement.device.type,
            self.both_fit(),
            (times.tokens, times.picture),
        )

    def painting_devices(self) -> list[str]:
        import torch

        if "," in self.choice.device:
            return [device_for(self.choice.device, "dit")]
        if self.choice.device != "auto" or self._placement.device.type == "cpu":
            return []
        kind = self._placement.device.type
        return [f"{kind}:{index}" for index in range(1, torch.accelerator.device_count())]

    def _layout(self, half: Half, memory: MemoryKeeper) -> Layout:
        """Where a half goes. Raises OutOfMemory (exit 5) if nothing fits, BadInput (exit 3) for an unfit LoRA."""
        memory.check_loras(half)
        return memory.layout(half, self._request(memory))

    def _peak(self, half: Half, layout: Layout) -> float:
        """Bytes a half takes; stage 1 holds the keys and values of a whole batch."""
        request = self._request(self._memory)
        need = self._memory.need(half, layout, request)
        if half == "dit":
            return need
        return need + ((self.ar.rows or AR_BATCH) - 1) * ar_need(ar_sizes(self.checkpoint), request, layout).kv_cache

    def _request(self, memory: MemoryKeeper) -> Request:
        scope = self._scope
        size = (scope.height, scope.width)
        return memory.request([size], guided=scope.guided, with_sources=scope.with_sources)

    @property
    def _is_open(self) -> bool:
        """Whether jobs may come that nobody has seen yet."""
        return self.scope is None

    @cached_property
    def _scope(self) -> Scope:
        return self.scope or Scope(*self.checkpoint.default_size)

    @cached_property
    def _memory(self) -> MemoryKeeper:
        return MemoryKeeper(self.checkpoint, self.choice, self._placement)

    @cached_property
    def _placement(self) -> Placement:
        from glmimg.runtime.device import place

        return place(self.choice)

    @cached_property
    def _painting(self) -> Placement:
        from glmimg.runtime.device import place

        return place(self.choice, "dit")


class _BatchedTokens:
    """Stage 1 of a checkpoint, many jobs a call. changes: to its weights, as dumps name them."""

    def __init__(self, stage: ARStage, changes: list[str]) -> None:
        self.stage = stage
        self.changes = changes

    def write_all(self, jobs: Sequence[Job], watch: Watch) -> list[TokenDump]:
        writer = BatchWriter(self.stage, watch, is_out_of_memory)
        return [with_changes(dump, self.changes) for dump in writer.write([TokenWork(job) for job in jobs])]

    def close(self) -> None:
        self.stage.close()
