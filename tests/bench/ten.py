"""Ten prompts in one call against ten calls, demo model: `python -m tests.bench.ten`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.processes import glmimg, keep, measure

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white")

if __name__ == "__main__":
    model = sys.argv[1] if len(sys.argv) > 1 else "demo"
    prompts = [
        f"a {colour} circle on a {ground} background"
        for colour, ground in zip(COLOURS, COLOURS[1:] + COLOURS[:1], strict=True)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        common = ["-m", model, "--seed", "1", "-f", "-q"]
        one_call = measure(glmimg("t2i", *prompts, *common, "-o", Path(scratch) / "{index}.png"))
        ten_calls = [measure(glmimg("t2i", prompt, *common, "-o", Path(scratch) / "x.png")) for prompt in prompts]
        apart = sum(run.wall for run in ten_calls)
        keep(
            "ten",
            {
                "one_call_s": round(one_call.wall, 2),
                "ten_calls_s": round(apart, 2),
                "times_less": round(apart / one_call.wall, 2),
            },
        )
