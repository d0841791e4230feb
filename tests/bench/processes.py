"""Whole processes, measured from outside: wall time and peak memory, two commands in turn.

Machines are noisy, so two commands run A B A B ... and what is reported are medians and the median
of the ratios pair by pair.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LAUNCH = Path(__file__).parent / "launch.py"


@dataclass(frozen=True)
class Run:
    """One finished process: seconds by the clock and of computing, largest resident memory in bytes."""

    wall: float
    cpu: float
    peak: int


def measure(command: Sequence[str], *, cwd: Path | None = None, stdin: bytes | None = None) -> Run:
    """Run a command to its end. Raises RuntimeError with its error output if it fails."""
    # An installed program has its bytecode: without it every run would compile our modules, and only ours, again.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        launch = [sys.executable, "-I", "-S", str(LAUNCH), str(report), *command]
        done = subprocess.run(
            launch, cwd=cwd, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, **given
        )
        figures = json.loads(report.read_text())
    status = figures.pop("status")
    if status:
        raise RuntimeError(f"{command} ended with {status}: {done.stderr.decode()[-2000:]}")
    return Run(**figures)


def compare(ours: Sequence[str], theirs: Sequence[str], *, runs: int, **options: Any) -> dict[str, Any]:
    """Both commands in turn, `runs` times after one run each that is not counted."""
    measure(ours, **options), measure(theirs, **options)
    pairs = [(measure(ours, **options), measure(theirs, **options)) for _ in range(runs)]
    return {
        "runs": runs,
        "wall_ours_s": round(statistics.median(a.wall for a, _ in pairs), 3),
        "wall_theirs_s": round(statistics.median(b.wall for _, b in pairs), 3),
        "wall_ratio": round(statistics.median(a.wall / b.wall for a, b in pairs), 3),
        "cpu_ratio": round(statistics.median(a.cpu / b.cpu for a, b in pairs), 3),
        "peak_ours_mb": round(statistics.median(a.peak for a, _ in pairs) / 1e6),
        "peak_theirs_mb": round(statistics.median(b.peak for _, b in pairs) / 1e6),
        "peak_ratio": round(statistics.median(a.peak / b.peak for a, b in pairs), 3),
    }


def glmimg(*arguments: str | Path) -> list[str]:
    """The command line that runs glmimg from this interpreter."""
    return [sys.executable, "-m", "glmimg", *map(str, arguments)]


def keep(name: str, figures: dict[str, Any]) -> None:
    """Print the figures of one benchmark and keep them, with the machine they were taken on."""
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    record = {"benchmark": name, "machine": machine, "python": platform.python_version(), **figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
