"""A case: files in a folder, a command over them, and the exit statuses it may end with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unicodedata import category

from tests.batch.stubs import StubStages
from tests.bench.hostile.watch import PATIENCE, Outcome, run_program, watched

FAULTS = (
    *("traceback", "bug message", "hang", "file outside", "program started", "host reached", "wrong status"),
    *("file lost", "no message", "control character", "check passed"),
)
"""What is counted; all of it should be 0."""

DRIVING, TURNING = {"Cc", "Cs", "Zl", "Zp"}, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Categories and characters that drive a terminal or turn its text."""

FOREIGN = {"foreign.txt": b"not ours", "foreign.tokens.json": b"{}", "index.html": b"<p>not ours"}
"""Files of somebody else that lie in every folder, and stay as they are."""


@dataclass(frozen=True)
class Case:
    """One attack.

    files:    by their paths in the folder of the case
    commands: the runs over them, one after another in that folder
    statuses: with which each may end
    linked:   a folder whose other files come into the case's folder `model` as links
    stubbed:  whether stages without weights draw
    excused:  what is said where a run may end with 1
    checked:  whether the first command has to find what keeps the second from its end
    """

    files: Mapping[str, bytes]
    commands: Sequence[Sequence[str]]
    statuses: frozenset[int] = frozenset({0, 2, 3, 4})
    linked: Path | None = None
    stubbed: bool = False
    excused: str | None = None
    checked: bool = False


Make = Callable[[Random, Path], Case]
"""From randomness and a folder of shared things (a hollow checkpoint, good dumps) to a case."""


@dataclass
class Verdict:
    """What was found in one case: faults by name, each with what is to be seen."""

    faults: dict[str, str] = field(default_factory=dict)
    statuses: list[int | None] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def lay_out(case: Case, folder: Path) -> None:
    """Write a case's files into an empty folder."""
    folder.mkdir(parents=True)
    for name, data in {**FOREIGN, **case.files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for each in case.linked.rglob("*") if case.linked else []:
        copy = folder / "model" / each.relative_to(case.linked or each)
        if each.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(each, copy)


def try_case(case: Case, folder: Path) -> Verdict:
    """Run a case in `folder`, which is made anew, and judge it."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(case, folder)
    verdict, before = Verdict(), Path.cwd()
    os.chdir(folder)
    os.environ["GLMIMG_CONFIG"] = str(folder / "config.yaml")
    try:
        for command in case.commands:
            with watched(folder) as watch, _stages(stubbed=case.stubbed):
                outcome = run_program(command)
            verdict.statuses.append(outcome.status)
            verdict.said.append(outcome.err[-600:])
            verdict.faults |= _judge(outcome, case)
            seen = {"file outside": watch.outside, "program started": watch.programs, "host reached": watch.reached}
            verdict.faults |= {name: found[0] for name, found in seen.items() if found}
    finally:
        os.chdir(before)
    if case.checked and verdict.statuses[0] == 0 and verdict.statuses[-1] not in (0, 1):
        verdict.faults["check passed"] = verdict.said[-1]
    lost = [name for name, data in FOREIGN.items() if not _is(folder / name, data)]
    return verdict if not lost else Verdict(verdict.faults | {"file lost": str(lost)}, verdict.statuses, verdict.said)


@contextmanager
def _stages(*, stubbed: bool) -> Iterator[None]:
    """Commands on stages without weights, if so asked."""
    from glmimg.cli.run import Run

    real = Run.stages
    try:
        if stubbed:
            Run.stages = property(lambda run: StubStages())  # type: ignore[assignment, method-assign]
        yield
    finally:
        Run.stages = real  # type: ignore[method-assign]


def _is(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _judge(outcome: Outcome, case: Case) -> dict[str, str]:
    said, found = outcome.err, {}
    is_excused = outcome.status == 1 and case.excused is not None and case.excused in said
    if outcome.escaped.startswith("Hang") or outcome.seconds > PATIENCE:
        found["hang"] = outcome.escaped or f"{outcome.seconds:.1f} s"
    elif outcome.escaped or "Traceback (most recent call last)" in said:
        found["traceback"] = outcome.escaped or said[-300:]
    elif "This is a bug" in said:
        found["bug message"] = said[-300:]
    elif outcome.status not in case.statuses and not is_excused:
        found["wrong status"] = f"{outcome.status}: {said[-300:]}"
    elif outcome.status in (2, 3, 4, 5) and "rror" not in said and "Usage" not in said:
        found["no message"] = f"{outcome.status}: {said[-300:]}"
    if any(each not in "\n\t" and (category(each) in DRIVING or each in TURNING) for each in said):
        found["control character"] = repr(said[-300:])
    return found


def keep(case: Case, verdict: Verdict, folder: Path) -> None:
    """Write a case down so that it can be looked at and run again: its files, its commands, what was found."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(case, folder)
    facts = {"commands": case.commands, "faults": verdict.faults, "statuses": verdict.statuses, "said": verdict.said}
    (folder / "case.json").write_text(json.dumps(facts, indent=1))
