"""Many cases of a kind one after another, and their faults counted."""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.bench.hostile import checkpoints, dumps, lists, parts, pictures, presets, signals
from tests.bench.hostile.case import FAULTS, Case, Make, Verdict, keep, try_case

KINDS: dict[str, Make] = {
    "dumps": dumps.make,
    "pictures": pictures.make,
    "presets": presets.make,
    "configs": presets.make_config,
    "lists": lists.make,
    "checkpoints": checkpoints.make,
    "parts": parts.make,
}
STUCK = 300
"""Seconds after which a run that no signal reaches ends the whole process, with a traceback of where it is."""

MEMORY = 12 << 30
"""Bytes of address space: what asks for more is refused it, instead of the machine."""


@dataclass
class Tally:
    """What came of the cases of one kind."""

    cases: int = 0
    runs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def add(self, label: str, verdict: Verdict, seconds: float) -> None:
        """Count one case."""
        self.cases += 1
        self.runs += len(verdict.statuses)
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)
        self.faults.update(verdict.faults.keys())
        self.statuses.update(map(str, verdict.statuses))
        self.found += [f"{label} {name}: {what}" for name, what in verdict.faults.items()]

    def figures(self) -> dict[str, Any]:
        """For the table of results."""
        return {
            "cases": self.cases,
            "runs": self.runs,
            **{fault: self.faults[fault] for fault in FAULTS},
            "statuses": dict(sorted(self.statuses.items())),
            "seconds": round(self.seconds, 1),
            "slowest_s": round(self.slowest, 2),
        }


def prepare(scratch: Path) -> Path:
    """What cases share, made once: the tiny checkpoint, and a hollow one that has all of it but weights."""
    from tests.tiny import build_checkpoint

    shared = scratch / "shared"
    if shared.exists():
        return shared
    tiny = build_checkpoint(shared / "tiny")
    shutil.copytree(tiny, shared / "hollow", ignore=shutil.ignore_patterns("*.safetensors"))
    sys.dont_write_bytecode = True
    tempfile.tempdir = str(scratch)
    os.environ.update(HF_HUB_OFFLINE="1", NO_COLOR="1", HF_HOME=str(scratch / "hub"))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    warm_up(shared, scratch / "warm")
    return shared


def warm_up(shared: Path, folder: Path) -> None:
    """One good run of each kind: what libraries do when they are imported is not the cases' doing."""
    draw = ["t2i", "x", "-m", str(shared / "tiny"), "-s", "64x64", "--steps", "1", "-o", "out.png"]
    edit = ["edit", "x", "-i", "out.png", "-m", str(shared / "tiny"), "--steps", "1", "-o", "again.png"]
    batch = ["batch", "jobs.txt", "-m", str(shared / "tiny"), "-s", "64x64", "--steps", "1", "-o", "out"]
    look = ["inspect", "out.png", "--picture", "grid.png"]
    from tests.bench.hostile import watch

    patience, watch.PATIENCE, watch.WAITING = (watch.PATIENCE, watch.WAITING), 120.0, 120.0
    verdict = try_case(Case({"jobs.txt": b"x\n"}, [draw, edit, batch, look]), folder)
    watch.PATIENCE, watch.WAITING = patience
    if set(verdict.statuses) != {0}:
        raise RuntimeError(f"the warm-up ended with {verdict.statuses}: {verdict.said}")


def case_of(kind: str, number: int, seed: int, shared: Path) -> Case:
    """The case that this kind, number and seed stand for."""
    return KINDS[kind](Random(f"{seed}/{kind}/{number}"), shared)


def attack(kind: str, wanted: int, seed: int, scratch: Path, kept: Path | None) -> Tally:
    """Run `wanted` cases of a kind; those with faults go into a folder in `kept`."""
    shared, tally = prepare(scratch), Tally()
    for number in range(wanted):
        case = case_of(kind, number, seed, shared)
        verdict, seconds = _timed(case, scratch / "cases" / f"{kind}-{number}", f"{kind}:{number}")
        tally.add(f"{kind}:{number}", verdict, seconds)
        if verdict.faults and kept:
            keep(case, verdict, kept / f"{kind}-{number}")
            sys.stderr.write(
                "".join(f"{kind}:{number} {name}: {what!r:.300}\n" for name, what in verdict.faults.items())
            )
    return tally


def one(kind: str, number: int, seed: int, scratch: Path, kept: Path) -> Verdict:
    """One case again, kept whatever comes of it."""
    case = case_of(kind, number, seed, prepare(scratch))
    verdict, _ = _timed(case, scratch / "cases" / "again", f"{kind}:{number}")
    keep(case, verdict, kept / f"{kind}-{number}")
    return verdict


def strike_all(wanted: int, seed: int, scratch: Path) -> Tally:
    """Processes interrupted, ended and killed at random moments."""
    tally = Tally()
    for number in range(wanted):
        started = time.monotonic()
        verdict = signals.strike(Random(f"{seed}/signals/{number}"), scratch / "struck" / str(number))
        tally.add(f"signals:{number}", verdict, time.monotonic() - started)
        sys.stderr.write("".join(f"signals:{number} {name}: {what!r:.300}\n" for name, what in verdict.faults.items()))
    return tally


def _timed(case: Case, folder: Path, label: str) -> tuple[Verdict, float]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    (folder.parent / "running").write_text(label)
    faulthandler.dump_traceback_later(STUCK, exit=True)
    started = time.monotonic()
    try:
        return try_case(case, folder), time.monotonic() - started
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(folder, ignore_errors=True)
