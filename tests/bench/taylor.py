"""`--cache light` and `deep` beside cache-dit's TaylorSeer with the same passes skipped: time and distance.

`python -m tests.bench.taylor [PROMPTS]`, on the demo, without and with TaylorSeer's forecast, of orders 1 and 2.
Times are the processor's, each over that of the default just before it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from glmimg.dit.blocks import BlockRunner
from glmimg.dit.stage import DiTStage
from glmimg.dit.stepcache import computed_passes, runner_behind_cache_dit
from glmimg.job import Painting
from tests.bench.passes import PROMPTS, compare, draw, paint
from tests.bench.processes import keep

LEVELS = ("light", "deep")
ORDERS = {"no forecast": 0, "order 1": 1, "order 2": 2}


class SeerStage(DiTStage):
    """Stage 2 with cache-dit at the passes of a level. order: of TaylorSeer, 0 for reused residuals"""

    level, order = "light", 1

    def _runner(self, painting: Painting, steps: int, *, with_sources: bool) -> BlockRunner:
        from cache_dit import TaylorSeerCalibratorConfig

        computed = computed_passes(self.level, steps)
        return runner_behind_cache_dit(
            self.parts.transformer,
            TaylorSeerCalibratorConfig(taylorseer_order=self.order) if self.order else None,
            residual_diff_threshold=1.0,
            max_warmup_steps=0,
            num_inference_steps=steps,
            steps_computation_mask=[int(step in computed) for step in range(steps)],
            steps_computation_policy="static",
        )


def run(prompts: int) -> dict[str, Any]:
    """The table: by level and way, for prompts and for edits."""
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        stage, dumps = draw("demo", prompts, Path(scratch))
        reference = {kind: paint(stage, each, {})[1] for kind, each in dumps.items()}
        seer = SeerStage(stage.parts, stage.sources.shelf)
        for level in LEVELS:
            seer.level = level
            for way, order in {"glmimg": None, **ORDERS}.items():
                for kind, each in dumps.items():
                    default = paint(stage, each, {})[0]
                    if order is None:
                        painted = paint(stage, each, {"cache": level})
                    else:
                        seer.order = order
                        painted = paint(seer, each, {})
                    figures = compare(*painted, reference[kind])
                    figures = {"of_default": round(figures["seconds"] / default, 3), **figures}
                    table.setdefault(level, {}).setdefault(way, {})[kind] = figures
                    sys.stderr.write(f"{level:6} {way:12} {kind:8} {figures}\n")
    return table


if __name__ == "__main__":
    keep("taylor", {"model": "demo", "levels": run(int(sys.argv[1]) if sys.argv[1:] else len(PROMPTS))})
