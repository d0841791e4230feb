"""A visit to the doctor: the facts, the checks, the clock, the plan, and what is to be remembered of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glmimg.choice import ModelChoice
from glmimg.engine.doctor.checks import Checks
from glmimg.engine.doctor.machine import facts_of
from glmimg.engine.doctor.timings import Timings, Work
from glmimg.engine.doctor.verdict import failed_ways, judge, with_measured
from glmimg.errors import WriteError
from glmimg.runtime.checkpoint import Checkpoint, Half
from glmimg.runtime.device import Placement, place
from glmimg.runtime.distrust import distrusted, remember
from glmimg.runtime.estimate import Request
from glmimg.runtime.known import KnownCheckpoint, depths_that_fit, known_checkpoint, make_noise
from glmimg.runtime.load import quiet_libraries
from glmimg.runtime.machine import free_bytes
from glmimg.runtime.plan import Planner
from glmimg.runtime.proposal import propose
from glmimg.runtime.resolve import DEFAULT_MODEL
from glmimg.runtime.speed import measure_speeds

SIDE, STEPS = 1024, 50
"""The picture that is planned for, and timed where there is an accelerator."""

HOST_SIDE = 256
HOST_DEPTHS: dict[Half, int] = {"ar": 2, "dit": 1}
"""What is timed of the real shapes on a processor, where a whole step would take minutes."""

LOST = "The device no longer answers."
Report = dict[str, Any]
Tell = Callable[[str, Any], None]
"""Told each finding by the name of its kind."""


@dataclass
class Visit:
    """One visit.

    named:     the model to time, where one is named
    full_size: time the real shapes, filled with noise
    compiled:  check and time the compiled ways too
    """

    choice: ModelChoice
    named: Checkpoint | None
    full_size: bool
    compiled: bool

    def run(self, tell: Tell) -> Report:
        """Everything, told piece by piece. Raises UsageError (exit 2) for a device that is not there."""
        quiet_libraries()
        placement = place(self.choice)
        report: Report = {"facts": facts_of(placement, self.named), "checks": [], "timings": []}
        speeds = measure_speeds(placement)
        report["facts"] |= {"copy_bytes_a_second": speeds.memory, "product_flops": speeds.flops}
        tell("facts", report["facts"])
        checks, examined = [], Checks(placement, compiled=self.compiled)
        for check in examined.run():
            checks.append(check)
            tell("check", check)
        report["distrusted"], report["note"] = self._remembered(placement, *failed_ways(checks))
        timings, depths = [], dict[Half, int]()
        whole = known_checkpoint(DEFAULT_MODEL)
        assert whole is not None
        if (self.named is not None or self.full_size) and not examined.is_lost:
            with self._timed_model(placement, whole, depths) as (checkpoint, side):
                for timing in Timings(checkpoint, self.choice, speeds, side, compiled=self.compiled).run():
                    timings.append(timing)
                    tell("timing", timing)
        plan = {"setting": "", "advice": LOST} if examined.is_lost else self._plan(self.named or whole)
        if timings:
            request = Request(SIDE, SIDE, placement.precision, on_host=placement.device.type == "cpu")
            plan = with_measured(plan, timings, Work.of(Planner.of(self.named or whole, request)), STEPS)
        verdict = judge(checks, timings, plan)
        report |= {"checks": [*map(asdict, checks)], "timings": [*map(asdict, timings)], "layers_timed": depths}
        report |= {"plan": plan, "verdict": verdict.word, "text": verdict.text}
        tell("verdict", report)
        return report

    @contextmanager
    def _timed_model(
        self, placement: Placement, whole: KnownCheckpoint, depths: dict[Half, int]
    ) -> Iterator[tuple[Checkpoint, int]]:
        """What is timed, and the side of its picture; `depths` learns how many layers it has."""
        on_host = placement.device.type == "cpu"
        side = HOST_SIDE if on_host else SIDE
        if self.named is not None:
            yield self.named, min(side, self.named.default_size[0])
            return
        planner = Planner.of(whole, Request(side, side, placement.precision, on_host=on_host))
        most: dict[Half, int] = HOST_DEPTHS if on_host else {"ar": planner.ar.layers, "dit": planner.dit.blocks}
        depths |= depths_that_fit(planner, free_bytes(placement.device), most)
        with tempfile.TemporaryDirectory(prefix="glmimg-") as folder:
            yield make_noise(Path(folder) / "noise", whole, depths), side

    def _plan(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The best setting for a picture of 1024x1024, and about how long it takes."""
        proposal = propose(checkpoint, self.choice, (SIDE, SIDE), None, STEPS, True)
        best = next((each for each in proposal.settings if each.chosen), None)
        if best is None:
            return {"setting": "", "advice": proposal.advice}
        plan = {"setting": best.command, "load_s": best.load_s, "tokens_s": best.tokens_s, "picture_s": best.picture_s}
        return plan | {"model": checkpoint.id, "why": best.why, "from": "estimated"}

    def _remembered(self, placement: Placement, found: dict[str, str], checked: set[str]) -> tuple[dict[str, str], str]:
        """What is distrusted on this machine from now on, and what a person should know of that."""
        try:
            remember(placement.device, found, checked)
        except WriteError as error:
            return found, f"what failed could not be remembered: {error.message}"
        return distrusted(placement.device), ""
