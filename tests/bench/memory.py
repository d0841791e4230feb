"""Peak memory of t2i by memory setting, against the stock pipeline and the plan: `python -m tests.bench.memory`.

A random checkpoint of about 400 MB (fp32) each half, as it is and stored in bf16 as the real one is, and the
demo, on the CPU in fp32. Whole processes, so Python and the libraries count on both sides.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from glmimg.demo import demo_path
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import PLANS
from glmimg.runtime.plan import Planner
from tests.bench.processes import glmimg, keep, measure
from tests.tiny import MID_SIZE, build_checkpoint, store_as

PROMPT, SIDE, STEPS, SEED = "a sign that says 'OPEN'", 256, 2, 1
MODES = ("stage", "offload", "stream")


def run(model: Path, folder: Path) -> dict[str, Any]:
    """Peaks in MB, as ratios to the stock pipeline's, and as ratios of the plan's estimate to them."""
    stock = folder / "stock.png"
    base = measure(
        [sys.executable, "-m", "tests.bench.stock_script", str(model), PROMPT, str(SIDE), str(STEPS), str(SEED),
         str(stock)]
    )  # fmt: skip
    planner = Planner.of(Checkpoint("model", model), Request(SIDE, SIDE, "fp32", on_host=True))
    figures: dict[str, Any] = {"stock_mb": round(base.peak / 1e6)}
    for mode in MODES:
        out = folder / f"{mode}.png"
        ours = measure(
            glmimg("t2i", PROMPT, "-m", model, "-s", f"{SIDE}x{SIDE}", "--steps", str(STEPS), "--seed", str(SEED),
                   "--memory", mode, "-o", out, "-f", "-q")
        )  # fmt: skip
        estimate = max(need.peak for need in planner.needs(PLANS[mode]))
        figures[mode] = {
            "peak_mb": round(ours.peak / 1e6),
            "of_stock": round(ours.peak / base.peak, 3),
            "estimate_over_peak": round(estimate / ours.peak, 3),
            "same_pixels": Image.open(out).tobytes() == Image.open(stock).tobytes(),
        }
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = build_checkpoint(folder / "model", MID_SIZE)
        figures = {"stored_fp32": run(model, folder)}
        store_as(model, "bfloat16")
        figures["stored_bf16"] = run(model, folder)
        keep("memory", {**figures, "demo": run(demo_path(), folder)})
