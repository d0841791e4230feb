"""A batch by 2 AR and 2 decode workers on a local Ray against the local engine, on the same cores.

    python -m tests.bench.batch_ray [MODEL] [--prompts 24] [--steps 50] [--runs 3]

Whole processes, in turn; pictures must be the same pixel by pixel. Ray's start and its workers' imports count, and once
more not: each side's time for a single prompt is taken off its time for all of them.
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
    pairs, starts, differing = list[tuple[float, float]](), list[tuple[float, float]](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(arguments.runs):
            for walls, count in ((starts, 1), (pairs, arguments.prompts)):
                (folder / "prompts.txt").write_text("\n".join(prompt_list(count)))
                common = ["batch", folder / "prompts.txt", "-m", arguments.model, "--steps", str(arguments.steps), "-q"]
                here = measure(glmimg(*common, "-o", folder / "here")).wall
                there = measure(glmimg(*common, "-o", folder / "ray", *WORKERS)).wall
                walls.append((here, there))
                differing += different(folder / "here", folder / "ray")
                shutil.rmtree(folder / "here"), shutil.rmtree(folder / "ray")
    drawing = [
        (all_here - here, all_there - there) for (here, there), (all_here, all_there) in zip(starts, pairs, strict=True)
    ]
    keep(
        "batch_ray",
        {
            "model": Path(arguments.model).name,
            "prompts": arguments.prompts,
            "steps": arguments.steps,
            "runs": arguments.runs,
            "local_s": [round(here, 1) for here, _ in pairs],
            "ray_s": [round(there, 1) for _, there in pairs],
            "one_prompt_local_s": [round(here, 1) for here, _ in starts],
            "one_prompt_ray_s": [round(there, 1) for _, there in starts],
            "ray_against_local": round(statistics.median(there / here for here, there in pairs), 2),
            "ray_against_local_start_apart": round(statistics.median(there / here for here, there in drawing), 2),
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
