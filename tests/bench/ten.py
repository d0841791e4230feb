"""Ten prompts in one call against ten calls, demo model: `python -m tests.bench.ten`. One call before, one after."""

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
        in_one_call = glmimg("t2i", *prompts, *common, "-o", Path(scratch) / "{index}.png")
        before = measure(in_one_call).wall
        apart = sum(measure(glmimg("t2i", prompt, *common, "-o", Path(scratch) / "x.png")).wall for prompt in prompts)
        one_call = (before + measure(in_one_call).wall) / 2
        keep(
            "ten",
            {
                "one_call_s": round(one_call, 2),
                "ten_calls_s": round(apart, 2),
                "times_less": round(apart / one_call, 2),
            },
        )
