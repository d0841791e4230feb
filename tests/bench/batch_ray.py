"""A batch by 2 AR and 2 decode workers on a local Ray against the local engine, on the same cores.

    python -m tests.bench.batch_ray [MODEL] [--prompts 24] [--steps 50] [--runs 3]

Whole processes, in turn. Ray's start and its workers' imports count; `--prompts` says how far they are spread.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from tests.bench.batch_speed import prompt_list
from tests.bench.processes import glmimg, keep, measure

WORKERS = ("--engine", "ray", "--ar-workers", "2", "--dit-workers", "2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    pairs, differing = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prompts.txt").write_text("\n".join(prompt_list(arguments.prompts)))
        common = ["batch", folder / "prompts.txt", "-m", arguments.model, "--steps", str(arguments.steps), "-q"]
        for _ in range(arguments.runs):
            here = measure(glmimg(*common, "-o", folder / "here")).wall
            there = measure(glmimg(*common, "-o", folder / "ray", *WORKERS)).wall
            pairs.append((here, there))
            differing += different(folder / "here", folder / "ray")
            shutil.rmtree(folder / "here"), shutil.rmtree(folder / "ray")
    keep(
        "batch_ray",
        {
            "model": Path(arguments.model).name,
            "prompts": arguments.prompts,
            "steps": arguments.steps,
            "runs": arguments.runs,
            "local_s": [round(here, 1) for here, _ in pairs],
            "ray_s": [round(there, 1) for _, there in pairs],
            "ray_against_local": round(statistics.median(there / here for here, there in pairs), 2),
            "differing_pictures": differing,
        },
    )


def different(left: Path, right: Path) -> int:
    """How many pictures are not the same pixel by pixel."""
    import numpy as np
    from PIL import Image

    names = [path.name for path in left.glob("*.png")]
    assert sorted(names) == sorted(path.name for path in right.glob("*.png"))
    return sum(not np.array_equal(*(np.asarray(Image.open(side / name)) for side in (left, right))) for name in names)


if __name__ == "__main__":
    main()
