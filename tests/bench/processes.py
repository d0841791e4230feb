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
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Run:
    """One finished process. peak is the largest resident memory of the process itself, in bytes."""

    wall: float
    peak: int


def measure(command: Sequence[str], *, cwd: Path | None = None, stdin: bytes | None = None) -> Run:
    """Run a command to its end. Raises RuntimeError with its error output if it fails."""
    started = time.perf_counter()
    pipe = subprocess.PIPE if stdin is not None else subprocess.DEVNULL
    # An installed program has its bytecode: without it every run would compile our modules, and only ours, again.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        command, cwd=cwd, env=settings, stdin=pipe, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        if stdin is not None and process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return Run(time.perf_counter() - started, usage.ru_maxrss * 1024)


def compare(ours: Sequence[str], theirs: Sequence[str], *, runs: int, **options: Any) -> dict[str, Any]:
    """Both commands in turn, `runs` times after one run each that is not counted."""
    measure(ours, **options), measure(theirs, **options)
    pairs = [(measure(ours, **options), measure(theirs, **options)) for _ in range(runs)]
    return {
        "runs": runs,
        "wall_ours_s": round(statistics.median(a.wall for a, _ in pairs), 3),
        "wall_theirs_s": round(statistics.median(b.wall for _, b in pairs), 3),
        "wall_ratio": round(statistics.median(a.wall / b.wall for a, b in pairs), 3),
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
