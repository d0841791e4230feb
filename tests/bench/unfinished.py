"""A single picture killed with SIGKILL at ten moments of each stage, and gone on with: is it the unbroken one?

    python -m tests.bench.unfinished [--model demo] [--moments 10] [--out tests/bench/results/unfinished.json]

Every run is a process of its own, as a person starts it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from glmimg.errors import BadInput
from glmimg.tokens.dump_file import read_dump
from glmimg.unfinished import ENDING, VARIABLE, read_unfinished
from tests.bench.processes import glmimg

WAYS = {
    "tokens": {"sequential": [], "jacobi": ["--ar-method", "jacobi"]},
    "picture": {"euler": [], "unipc": ["--scheduler", "unipc"], "heun": ["--scheduler", "heun"]},
}
EVERY_SECONDS = "0.01"
PROMPT = "a red circle and a blue square"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    os.environ[VARIABLE] = EVERY_SECONDS
    results: dict[str, Any] = {"model": asked.model, "moments": asked.moments}
    with tempfile.TemporaryDirectory() as name:
        for stage, ways in WAYS.items():
            for way, options in ways.items():
                command = [*options, "-m", asked.model, "--seed", "1", "--steps", str(asked.steps), "-q"]
                results[f"{stage}, {way}"] = survive(Path(name), f"{stage}-{way}", stage, command, asked.moments)
                sys.stderr.write(f"{stage}, {way}: {results[f'{stage}, {way}']}\n")
    text = json.dumps(results, indent=1)
    if asked.out:
        asked.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def survive(folder: Path, name: str, stage: str, options: list[str], moments: int) -> dict[str, Any]:
    """One stage of one way, killed so often: at which token or step, and how many results differ from the whole."""
    run("t2i", PROMPT, *options, "-o", folder / f"{name}.png")
    whole = {ending: folder / f"{name}{ending}" for ending in (".png", ".tokens.json")}
    killed, differing, total = [], 0, 1
    for number in range(moments):
        output = folder / f"{name}-{number}{'.tokens.json' if stage == 'tokens' else '.png'}"
        draw = glmimg("tokens", PROMPT, *options, "-o", output)
        if stage == "picture":
            draw = glmimg("decode", whole[".tokens.json"], "-o", output)
        part = output.with_name(output.name + ENDING)
        done, total = kill_at(draw, part, (number + 0.5) / moments)
        killed.append(done)
        run("resume", part)
        if stage == "tokens":
            differing += read_dump(output).grids != read_dump(whole[".tokens.json"]).grids
            run("decode", output)
            output = folder / f"{name}-{number}.png"
        differing += output.read_bytes() != whole[".png"].read_bytes()
    return {"killed_at": killed, "of": total, "differing": differing}


def kill_at(command: list[str], part: Path, share: float) -> tuple[int, int]:
    """Start a command and kill it once so much of its work is left. Returns how much that was, and of how much."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                left = read_unfinished(part)
            except BadInput:
                left = None
            if left and left.done >= share * left.total:
                process.kill()
                break
            time.sleep(0.002)
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"it ended before it was killed: {process.returncode}")
    left = read_unfinished(part)
    return left.done, left.total


def run(*arguments: str | Path) -> None:
    subprocess.run(glmimg(*arguments), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
