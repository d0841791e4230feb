"""The stage protocol of the engine (in this process, behind a socket, or a test's stubs), and a checkpoint's stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from glmimg.choice import NATIVE, ModelChoice
from glmimg.engine.memory import HalfMemory, check_changes
from glmimg.engine.provenance import provenance_of
from glmimg.engine.scope import Scope
from glmimg.errors import OutOfMemory
from glmimg.events import Noted, Watch
from glmimg.grid import Role
from glmimg.image_io import Provenance
from glmimg.job import Job, Painting
from glmimg.runtime.checkpoint import HALVES, Checkpoint, Half
from glmimg.runtime.compression import Way, compare
from glmimg.runtime.device import check_names, device_for, place
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import Layout
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import MARGIN, Planner, named
from glmimg.runtime.speed import estimate_times, measure_speeds
from glmimg.sources import SourceShelf
from glmimg.tokens.change import Reading, Redraw, TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.unfinished import ENDING, Part, Unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

AR_BATCH = 8
"""Default number of jobs that a batch passes to stage 1 at once."""


class TokenStage(Protocol):
    """Stage 1, loaded."""

    def write(self, works: Sequence[TokenWork], watch: Watch) -> list[TokenDump]:
        """Write a dump for each work, all of one kind, in their order. If one fails, all fail."""

    def rows_that_fit(self, work: TokenWork) -> int:
        """How many jobs like this one can be written at once."""

    def redraw(self, redraw: Redraw, watch: Watch) -> TokenDump:
        """Redraw part of a dump."""

    def score(self, dump: TokenDump) -> TokenDump:
        """The dump with the log-probability of every token."""

    def encode(self, reading: Reading) -> TokenDump:
        """A picture's own tokens."""

    def close(self) -> None:
        """Free the memory."""


class PaintStage(Protocol):
    """Stage 2, loaded."""

    def paint(self, dump: TokenDump, painting: Painting, watch: Watch, part: Part | None = None) -> Image:
        """Paint an RGB picture of the dump's size from its target grid.

        part: where unfinished work is saved and resumed from
        """

    def close(self) -> None:
        """Free the memory."""


@dataclass(frozen=True)
class ModelId:
    """The weights that dumps and pictures are made with. choice: how they are loaded"""

    id: str
    fingerprint: str
    choice: ModelChoice = field(default_factory=ModelChoice)

    @property
    def changes(self) -> tuple[str, ...]:
        """The quantization and adapters applied to them."""
        return tuple(self.choice.changes)

    def wrote(self, dump: TokenDump) -> bool:
        """Whether a dump was written with these weights, with the same quantization and adapters."""
        return (dump.model.fingerprint, tuple(dump.model.changes)) == (self.fingerprint, self.changes)

    def part(self, output: Path | None, job: Job, **what: Any) -> Part | None:
        """The .part file of an output; None if it is no regular file, or a step cache is in use.

        what: fields of `Unfinished` that say which work it is
        """
        skips = "dump" in what and job.painting.cache is not None
        if output is None or skips or (output.exists() and not output.is_file()):
            return None
        choice = self.choice.model_copy(update={"model": self.id})
        work = Unfinished(job=job, fingerprint=self.fingerprint, choice=choice, **what)
        return Part(output.with_name(output.name + ENDING), work)


class Stages(Protocol):
    """Loads the stages of one model. Has to survive pickling: other processes load their own."""

    @property
    def model(self) -> ModelId:
        """Which weights these are."""

    @property
    def stays(self) -> bool:
        """Whether both stages were requested to stay loaded."""

    def check(self, *halves: Half) -> None:
        """Refuse a model that is unfit, before weights load. Raises ModelUnfit (exit 4), BadInput (exit 3)."""

    def layout(self, half: Half, scope: Scope) -> Layout:
        """Where the weights of a half go. Raises OutOfMemory (exit 5) if nothing fits."""

    def smaller(self, half: Half, layout: Layout) -> Layout | None:
        """The layout to try after one that ran out of memory; None if there is none."""

    def explain(self, half: Half, layout: Layout, scope: Scope) -> OutOfMemory:
        """The error: what ran out, how much was missing, and which setting needs less."""

    def load_tokens(self, layout: Layout, scope: Scope, watch: Watch) -> TokenStage:
        """Stage 1. Raises ModelUnfit (exit 4), OutOfMemory (exit 5)."""

    def load_painter(self, layout: Layout, scope: Scope, watch: Watch) -> PaintStage:
        """Stage 2. Raises as `load_tokens`."""

    def both_fit(self, scope: Scope) -> bool:
        """Whether both stages can be loaded at once."""

    def painting_devices(self) -> list[str]:
        """Devices beside that of stage 1 on which pictures can be painted at the same time."""

    def on(self, device: str) -> Stages:
        """The same stages on another device."""

    def provenance(self, dump: TokenDump, painting: Painting, grid: Role) -> Provenance:
        """How a picture painted here came to be."""


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
        """Roughly the peak memory of the batch."""
        return int(self.tokens + self.painter if self.both_fit else max(self.tokens, self.painter))


@dataclass(frozen=True)
class CheckpointStages:
    """The stages of a checkpoint on this machine, in the memory layout the choice requests or that fits.

    shelf:  where the sources of edits are; None: each stage reads them from their files
    raises: UsageError (exit 2), BadInput (exit 3) for an impossible choice
    """

    checkpoint: Checkpoint
    choice: ModelChoice
    shelf: SourceShelf | None = None
    _told: set[str] = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_names(self.choice)
        check_changes(self.choice)

    @cached_property
    def model(self) -> ModelId:
        return ModelId(self.checkpoint.id, self.checkpoint.fingerprint(), self.choice)

    @property
    def stays(self) -> bool:
        return self.choice.memory == "resident" or self._has_two_devices

    @property
    def _has_two_devices(self) -> bool:
        return "," in self.choice.device

    def open_scope(self) -> Scope:
        """What jobs may ask for that nobody has seen yet: the checkpoint's own size, with a source picture of it."""
        size = self.checkpoint.default_size
        return Scope(*size, sources=(size,))

    def check(self, *halves: Half) -> None:
        self.checkpoint.check(*halves)
        if self.choice.lora:
            for half in halves:
                self._memory[half].check_loras()
        if self._has_two_devices and "dit" in halves:
            self._memory["dit"]  # a missing device is reported before stage 1 works in vain
        if self.choice.attention != NATIVE and "dit" in halves:
            from glmimg.dit.backends import check_backend

            width = int(self.checkpoint.config("transformer")["attention_head_dim"])
            check_backend(self.choice.attention, self._memory["dit"].placement, width)

    def layout(self, half: Half, scope: Scope) -> Layout:
        self._memory[half].check_loras()
        return self._memory[half].layout(self._request(half, scope))

    def smaller(self, half: Half, layout: Layout) -> Layout | None:
        return self._memory[half].smaller(layout)

    def explain(self, half: Half, layout: Layout, scope: Scope) -> OutOfMemory:
        return self._memory[half].explain(layout, self._request(half, scope))

    def load_tokens(self, layout: Layout, scope: Scope, watch: Watch) -> TokenStage:
        from glmimg.ar.stage import ARStage

        memory, checkpoint, sources = self._ready("ar", watch), self.checkpoint, bool(scope.sources)
        stage = ARStage(checkpoint, memory.placement, watch, self.shelf, memory.trusted, layout, with_vision=sources)
        stage.draws_ahead = "jacobi" not in memory.distrusted
        stage.compiles_unasked = layout.resident is None and memory.compiles_unasked
        return stage

    def load_painter(self, layout: Layout, scope: Scope, watch: Watch) -> PaintStage:
        from glmimg.dit.stage import DiTStage

        memory = self._ready("dit", watch)
        return DiTStage.load(
            *(self.checkpoint, memory.placement, watch, self.shelf, layout),
            with_encoder=bool(scope.sources),
            compile=bool(memory.trusted.compile),
            attention=self.choice.attention,
        )

    @property
    def is_exact(self) -> bool:
        """Whether a batch of stage 1 changes none of its members."""
        placement = self._memory["ar"].placement
        return placement.device.type == "cpu" and placement.precision == "fp32"

    def both_fit(self, scope: Scope) -> bool:
        return self.stays or (self.choice.memory == "auto" and not self.lack_memory(scope))

    def lack_memory(self, scope: Scope) -> bool:
        """Whether the device has less free than the stages would take if they could."""
        auto = self.choice.memory == "auto"
        peaks = [self._peak(half, Layout() if auto else self.layout(half, scope), scope) for half in HALVES]
        whole = sum(peaks) if auto or self.stays else max(peaks)
        return whole > free_bytes(self._memory["ar"].placement.device) * (1 - MARGIN)

    def painting_devices(self) -> list[str]:
        import torch

        if self._has_two_devices:
            return [device_for(self.choice.device, "dit")]
        kind = self._memory["ar"].placement.device.type
        if self.choice.device != "auto" or kind == "cpu":
            return []
        return [f"{kind}:{index}" for index in range(1, torch.accelerator.device_count())]

    def on(self, device: str) -> CheckpointStages:
        return replace(self, choice=self.choice.model_copy(update={"device": device}))

    def provenance(self, dump: TokenDump, painting: Painting, grid: Role) -> Provenance:
        memory, off = self._memory["dit"], [f"{half} {way}" for half in HALVES for way in self._memory[half].distrusted]
        device, dtype = memory.placement.device.type, memory.placement.recorded
        return provenance_of(dump, painting, grid, device, dtype, memory.trusted, off)

    def needs(self, scope: Scope) -> Needs:
        """What the stages take in memory and time. Raises ModelUnfit (exit 4), OutOfMemory (exit 5)."""
        ar, dit = (self.layout(half, scope) for half in HALVES)
        placement = self._memory["ar"].placement
        planner = Planner.of(self.checkpoint, self._request("ar", scope))
        times = estimate_times(planner, named(ar, dit), measure_speeds(placement), round(scope.steps))
        peaks = self._peak("ar", ar, scope), self._peak("dit", dit, scope)
        both, free = self.both_fit(scope), free_bytes(placement.device)
        return Needs(*peaks, free, placement.device.type, both, (times.tokens, times.picture))

    def ways(self, scope: Scope) -> list[Way]:
        """Ways to compress on this device, exact weights first; empty where nothing has to be streamed for those."""
        if self.choice.memory != "auto" or self.choice.lora:
            return []
        try:
            if all(self.layout(half, scope).resident is None for half in HALVES):
                return []
        except OutOfMemory:
            pass
        at, request = self._memory["ar"].placement, self._request("ar", scope)
        return compare(self.checkpoint, request, free_bytes(at.device), measure_speeds(at), round(scope.steps), at)

    def files_of_stage_2(self) -> list[Path]:
        """In the order they are read."""
        return [file for part in ("text_encoder", "transformer", "vae") for file in self.checkpoint.weight_files(part)]

    def _ready(self, half: Half, watch: Watch) -> HalfMemory:
        """The memory of a half that is about to load: it is checked, and what one should know is told, once."""
        self.check(half)
        memory = self._memory[half]
        for note in memory.warnings:
            if note not in self._told:
                self._told.add(note)
                watch(Noted(note))
        return memory

    def _peak(self, half: Half, layout: Layout, scope: Scope) -> float:
        """Bytes a half takes; stage 1 holds the keys and values of a whole batch."""
        need = self._memory[half].need(layout, self._request(half, scope))
        return need.peak + ((self.choice.rows or AR_BATCH) - 1) * need.kv_cache

    def _request(self, half: Half, scope: Scope) -> Request:
        memory, (ar, dit) = self._memory[half], (self._memory[each] for each in HALVES)
        return Request(
            *(scope.height, scope.width, memory.placement.precision),
            on_host=memory.placement.device.type == "cpu",
            guided=scope.guided,
            sources=scope.sources,
            quantize=(ar.way, dit.way),
            streamable=(ar.streamable, dit.streamable),
            one_batch=scope.one_batch,
        )

    @cached_property
    def _memory(self) -> dict[Half, HalfMemory]:
        return {half: HalfMemory(self.checkpoint, self.choice, half, place(self.choice, half)) for half in HALVES}
