"""How fast both stages go on a machine: each way against what its memory copies and its products reach, and stock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from glmimg import __version__
from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.dit.stage import DiTStage
from glmimg.engine.complete import complete
from glmimg.engine.doctor.checks import reason
from glmimg.engine.doctor.stock import stock_picture, stock_tokens
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.events import StepDone, TokensWritten, unwatched
from glmimg.grid import Role, preview_shape, target_shape
from glmimg.job import Job, Painting, Size
from glmimg.runtime.checkpoint import Checkpoint, Half
from glmimg.runtime.device import place
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import PLANS
from glmimg.runtime.plan import Planner
from glmimg.runtime.speed import Speeds, estimate_times
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import Grid, ModelRef, SamplingRecord, Stats, TokenDump

STEPS = 8
SECONDS_A_WAY = 20.0
STOCK_TOKENS = (4, 32)
"""What `generate` draws to get ready, and by the clock, which sees its prompt too."""

UNITS = Speeds(1.0, 1.0, float("inf"), "units")
"""A machine on which a byte and an operation take a second: estimates of time are then counts of them."""


@dataclass(frozen=True)
class Timing:
    """One way of a stage by the clock.

    seconds: of a token, or of a denoising step
    reached: bytes, or operations, a second
    share:   of what a copy, or a product of matrices, reaches here
    note:    why there are no numbers
    """

    half: Half
    way: str
    seconds: float | None = None
    reached: float = 0.0
    share: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Work:
    """What a picture of the checkpoint takes in stage 1 for a token, in bytes, and in stage 2 for a step, in FLOP."""

    token_bytes: float
    tokens: int
    step_flops: float

    @classmethod
    def of(cls, planner: Planner) -> Work:
        one, two = (estimate_times(planner, PLANS["resident"], UNITS, steps) for steps in (1, 2))
        count = planner.request.new_tokens
        return cls(one.tokens / count, count, two.picture - one.picture)


class Enough(Exception):
    """The clock has seen what it wants to."""


class Clock:
    """Watches a stage: reads the time at each report, and ends the work when it was watched for long enough."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.marks = device, [(0, time.perf_counter())]

    def __call__(self, event: object) -> None:
        if isinstance(event, TokensWritten):
            self.mark(event.count)
        elif isinstance(event, StepDone):
            self.mark(event.number)

    def mark(self, number: int) -> None:
        """So many are done now."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        self.marks.append((number, time.perf_counter()))
        if len(self.marks) > 2 and self.marks[-1][1] - self.marks[0][1] > SECONDS_A_WAY:
            raise Enough

    def seconds_a_piece(self, work: Callable[[Clock], object]) -> float:
        """Run the work, be it to its end or not. The first piece, which starts and prepares things, does not count."""
        with suppress(Enough):
            work(self)
        (first, begun), (last, ended) = self.marks[min(1, len(self.marks) - 2)], self.marks[-1]
        return (ended - begun) / (last - first)


class Timings:
    """The timings of one checkpoint's stages.

    choice:   as commands would load it
    speeds:   of the device, measured
    side_px:  of the picture
    compiled: also the compiled ways
    """

    def __init__(
        self, checkpoint: Checkpoint, choice: ModelChoice, speeds: Speeds, side_px: int, *, compiled: bool
    ) -> None:
        self.stages, self.speeds, self.compiled = CheckpointStages(checkpoint, choice), speeds, compiled
        self.checkpoint = checkpoint
        given = {"prompt": "a sign that says 'OPEN'", "seed": 1, "size": Size(side_px, side_px), "steps": STEPS}
        self.job = complete(given, self.checkpoint)
        self.scope = Scope.of([self.job])
        placement = place(choice)
        self.device = placement.device
        request = Request(side_px, side_px, placement.precision, on_host=self.device.type == "cpu")
        self.work = Work.of(Planner.of(self.checkpoint, request))

    def run(self) -> Iterator[Timing]:
        """Each timing when it is done; one that fails says why."""
        halves: tuple[tuple[Half, Iterator[Timing]], ...] = (("ar", self._tokens()), ("dit", self._pictures()))
        for half, trials in halves:
            try:
                yield from trials
            except Exception as error:
                yield Timing(half, "load", note=reason(error))

    def _tokens(self) -> Iterator[Timing]:
        for way, stages in self._ways(plain_too=self.device.type != "cpu"):
            with self._loaded(stages.load_tokens, "ar") as stage:
                yield self._timed("ar", way, partial(stage.write, [TokenWork(self.job)]))
                if way == "default":
                    yield self._timed("ar", "generate", partial(_generate, stage, self.job))

    def _pictures(self) -> Iterator[Timing]:
        dump = self._made_up_dump()
        for way, stages in self._ways(plain_too=False):
            with self._loaded(stages.load_painter, "dit") as stage:
                yield self._timed("dit", way, partial(stage.paint, dump, self.job.painting))
                if way == "default":
                    yield self._timed("dit", "stock", partial(_paint_by_stock, stage, dump, self.job.painting))

    def _ways(self, *, plain_too: bool) -> Iterator[tuple[str, CheckpointStages]]:
        yield "default", self.stages
        for way, compile in (("plain", False), ("compiled", True)):
            if plain_too if way == "plain" else self.compiled:
                yield way, replace(self.stages, choice=self.stages.choice.model_copy(update={"compile": compile}))

    @contextmanager
    def _loaded(self, load: Callable[..., Any], half: Half) -> Iterator[Any]:
        """A stage, closed in the end."""
        stage = load(self.stages.layout(half, self.scope), self.scope, unwatched)
        try:
            yield stage
        finally:
            stage.close()

    def _timed(self, half: Half, way: str, work: Callable[[Clock], object]) -> Timing:
        try:
            seconds = Clock(self.device).seconds_a_piece(work)
        except Exception as error:  # one way must not take the others with it
            return Timing(half, way, note=reason(error))
        amount, best = {
            "ar": (self.work.token_bytes, self.speeds.memory),
            "dit": (self.work.step_flops, self.speeds.flops),
        }[half]
        return Timing(half, way, seconds, amount / seconds, amount / seconds / best)

    def _made_up_dump(self) -> TokenDump:
        """Some tokens for the picture: how long it takes does not depend on them."""
        target = target_shape(*self.job.scene.size)
        shapes: dict[Role, Any] = {"preview": preview_shape(target), "target": target}
        codes = range(self.checkpoint.codebook_size)
        grids = [
            Grid.from_flat(role, shape, [codes[7 * cell % len(codes)] for cell in range(shape.cells)])
            for role, shape in shapes.items()
        ]
        size, seed = self.job.scene.size, self.job.sampling.seed
        return TokenDump(
            prompt=self.job.scene.prompt, height=size.height, width=size.width, seed=seed, grids=grids,
            model=ModelRef(id="noise", revision=None, codebook_size=len(codes), fingerprint="none-none"),
            sampling=SamplingRecord(temperature=1.0, top_p=1.0), stats=Stats(seconds=0, tokens=0, forward_passes=0),
            glmimg=__version__,
        )  # fmt: skip


def _generate(stage: ARStage, job: Job, clock: Clock) -> None:
    for count in STOCK_TOKENS:
        stock_tokens(stage, job, count)
        clock.mark(clock.marks[-1][0] + count)


def _paint_by_stock(stage: DiTStage, dump: TokenDump, painting: Painting, clock: Clock) -> None:
    stock_picture(stage, dump, painting, clock.mark)
