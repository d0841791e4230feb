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
from glmimg.engine.records import making_of
from glmimg.events import Watch
from glmimg.image_io import Making
from glmimg.job import ARChoice, Job, ModelChoice, PaintSettings
from glmimg.runtime.checkpoint import Checkpoint
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


HEADROOM = 1.4
"""What a stage needs next to its weights while it works (KV cache, activations, VAE), as a factor."""


@dataclass(frozen=True)
class Needs:
    """Memory in bytes: the weights of each stage, and what is free on `device`."""

    tokens: int
    painter: int
    free: int
    device: str

    @property
    def both_fit(self) -> bool:
        return (self.tokens + self.painter) * HEADROOM <= self.free

    @property
    def at_once(self) -> int:
        """About what the batch takes at its height."""
        weights = self.tokens + self.painter if self.both_fit else max(self.tokens, self.painter)
        return int(weights * HEADROOM)


@dataclass(frozen=True)
class CheckpointStages:
    """The stages of a checkpoint on this machine."""

    checkpoint: Checkpoint
    choice: ModelChoice
    ar: ARChoice = field(default_factory=ARChoice)

    @cached_property
    def model(self) -> ModelId:
        return ModelId(self.checkpoint.id, self.checkpoint.fingerprint())

    def load_tokens(self, watch: Watch) -> TokenStage:
        from glmimg.ar.stage import ARStage

        self.checkpoint.check("ar")
        return _BatchedTokens(ARStage.load(self.checkpoint, self._placement, watch, choice=self.ar))

    def load_painter(self, watch: Watch, device: str | None = None) -> PaintStage:
        from glmimg.dit.stage import DiTStage
        from glmimg.runtime.device import place

        self.checkpoint.check("dit")
        placement = place(replace(self.choice, device=device)) if device else self._placement
        return DiTStage.load(self.checkpoint, placement, watch, compile=bool(self.choice.compile))

    def making(self, dump: TokenDump, settings: PaintSettings) -> Making:
        return making_of(PaintOrder(dump, settings), self._placement, self.choice.changes)

    def both_fit(self) -> bool:
        return self.needs().both_fit

    def needs(self) -> Needs:
        """What the stages take on the device they would be loaded to. Raises ModelUnfit (exit 4)."""
        from glmimg.engine.batch.memory import free_bytes, weights_bytes

        tokens, painter = weights_bytes(self.checkpoint, self._placement)
        return Needs(tokens, painter, free_bytes(self._placement), self._placement.device.type)

    def painting_devices(self) -> list[str]:
        import torch

        if self.choice.device != "auto" or self._placement.device.type == "cpu":
            return []
        kind = self._placement.device.type
        return [f"{kind}:{index}" for index in range(1, torch.accelerator.device_count())]

    @cached_property
    def _placement(self) -> Placement:
        from glmimg.runtime.device import place

        return place(self.choice)


class _BatchedTokens:
    """Stage 1 of a checkpoint, many jobs a call."""

    def __init__(self, stage: ARStage) -> None:
        self.stage = stage

    def write_all(self, jobs: Sequence[Job], watch: Watch) -> list[TokenDump]:
        writer = BatchWriter(self.stage, watch, is_out_of_memory)
        return list(writer.write([TokenWork(job) for job in jobs]))

    def close(self) -> None:
        self.stage.close()
