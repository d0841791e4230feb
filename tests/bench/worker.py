"""What a worker saves, and what it survives: `python -m tests.bench.worker [--calls 10] [--loop 24] [--kills 20]`.

A warm call less its stages' own seconds, a shell loop against one `t2i --prompts -`, SIGKILL of the worker at moments
all over a call, and the worker's memory over many pictures; the last two on a tiny random checkpoint. Prints JSON, and
writes it to --out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from tests.tiny import build_checkpoint

DRAW = ["--steps", "2", "--json", "--force", "-q"]
TINY = ["--size", "64x64", "--steps", "1", "--json", "--force", "-q"]


def run(*words: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """A glmimg of its own."""
    command = [sys.executable, "-m", "glmimg", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=given)


@contextmanager
def worker_of(model: str | Path) -> Iterator[int]:
    """The process id of a worker for a model."""
    started = run("worker", "start", "-m", model, "--keep", "10m", "--json")
    assert started.returncode == 0, started.stderr
    try:
        yield int(json.loads(started.stdout)["pid"])
    finally:
        run("worker", "stop", "-m", model)


def warm(folder: Path, calls: int) -> dict[str, Any]:
    """Seconds of a call from start to exit, less what its stages took, once the weights are loaded."""
    line = ["t2i", "a red circle", "-m", "demo", *DRAW, "-o", folder / "warm.png"]
    with worker_of("demo"):
        run(*line)
        over, whole = [], []
        for _ in range(calls):
            started = time.perf_counter()
            done = run(*line)
            whole.append(time.perf_counter() - started)
            over.append(whole[-1] - sum(json.loads(done.stdout)["seconds"].values()))
    median = statistics.median
    return {
        "calls": calls,
        "median": round(median(whole), 3),
        "median less stages": round(median(over), 3),
        "least less stages": round(min(over), 3),
    }


def loop(folder: Path, count: int) -> dict[str, Any]:
    """Seconds of a shell loop with a worker, against one process that is given all prompts."""
    prompts = [f"a red circle {number}" for number in range(count)]
    common = ["-m", "demo", *DRAW]
    started = time.perf_counter()
    run("t2i", "--prompts", "-", *common, "--no-worker", "-o", folder / "one-{index}.png", given="\n".join(prompts))
    one = time.perf_counter() - started
    started = time.perf_counter()
    for number, prompt in enumerate(prompts):
        run("t2i", prompt, *common, "--keep", "2m", "-o", folder / f"loop-{number}.png")
    looped = time.perf_counter() - started
    run("worker", "stop", "-m", "demo")
    return {
        "prompts": count,
        "one process": round(one, 2),
        "loop": round(looped, 2),
        "more a call": round((looped - one) / count, 3),
    }


def kills(folder: Path, count: int) -> dict[str, Any]:
    """How calls ended whose worker was killed, at moments spread over the length of the call before it."""
    tiny = build_checkpoint(folder / "killed")
    line = ["t2i", "a red circle", "-m", tiny, "--size", "128x128", "--seed", "1", "--steps", "8", "--force", "-q"]
    right = folder / "right.png"
    run(*line, "--no-worker", "-o", right)
    ends, faults = Counter[str](), list[str]()
    for number in range(count):
        out = folder / f"killed-{number}.png"
        with worker_of(tiny) as pid:
            run(*line, "-o", folder / "before.png")
            started = time.perf_counter()
            run(*line, "-o", folder / "before.png")
            length = time.perf_counter() - started
            command = [sys.executable, "-m", "glmimg", *map(str, line), "-o", str(out)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(length * (number + 0.5) / count)
            os.kill(pid, signal.SIGKILL)
            _, err = process.communicate(timeout=300)
        ends["picture" if process.returncode == 0 else f"exit {process.returncode}"] += 1
        if process.returncode == 0 and Image.open(out).tobytes() != Image.open(right).tobytes():
            faults.append(f"{number}: another picture")
        if process.returncode and (out.exists() or "error:" not in err or "Traceback" in err):
            faults.append(f"{number}: {err[-300:]}")
    left = [path.name for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".part"]
    return {"kills": count, "ends": dict(ends), "faults": faults, "left behind": left}


def memory(folder: Path, pictures: int) -> dict[str, Any]:
    """Megabytes the worker of a tiny random checkpoint holds after a fifth of the pictures, and after all."""
    tiny = build_checkpoint(folder / "tiny")
    with worker_of(tiny) as pid:
        process, held = psutil.Process(pid), []
        for _ in range(5):
            prompts = "\n".join(f"a red circle {number}" for number in range(pictures // 5))
            run("t2i", "--prompts", "-", "-m", tiny, *TINY, "-o", folder / "m-{index}.png", given=prompts)
            held.append(round(process.memory_info().rss / 1e6, 1))
    return {"pictures": pictures, "MB after each fifth": held, "grown since the first": round(held[-1] - held[0], 1)}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--loop", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="glmimg-b-"))
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    found: dict[str, Any] = {}
    parts = {"warm": (warm, given.calls), "loop": (loop, given.loop), "kills": (kills, given.kills)}
    try:
        for name, (measure, count) in {**parts, "memory": (memory, given.pictures)}.items():
            if count:
                found[name] = measure(folder, count)
    finally:
        run("worker", "stop")
        shutil.rmtree(folder, ignore_errors=True)
    found["load of the machine"] = round(os.getloadavg()[1], 1)
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
