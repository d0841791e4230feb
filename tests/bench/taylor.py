"""`--cache light` and `deep` beside cache-dit's TaylorSeer with the same passes skipped: time and distance.

`python -m tests.bench.taylor [PROMPTS]`, on the demo, without and with TaylorSeer's forecast, of orders 1 and 2.
Times are the processor's, each over that of the default just before it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmimg.dit.blocks import BlockRunner, Pass, State
from glmimg.dit.stage import DiTStage
from glmimg.dit.stepcache import BlockStack, computed_passes
from glmimg.job import Painting
from tests.bench.passes import PROMPTS, compare, draw, paint
from tests.bench.processes import keep

LEVELS = ("light", "deep")
ORDERS = {"no forecast": 0, "order 1": 1, "order 2": 2}


class SeerStage(DiTStage):
    """Stage 2 with cache-dit at the passes of a level. order: of TaylorSeer, 0 for reused residuals"""

    level, order = "light", 1

    def _runner(self, painting: Painting, steps: int, *, with_sources: bool) -> BlockRunner:
        return seer_runner(self.parts.transformer, computed_passes(self.level, steps), steps, self.order)


def seer_runner(transformer: Any, computed: frozenset[int], steps: int, order: int) -> BlockRunner:
    """The blocks behind cache-dit, a cache for each branch: one block runs at each pass, the others at `computed`."""
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")
    import cache_dit

    stacks = [BlockStack(transformer.transformer_blocks) for _ in range(2)]
    for stack in stacks:
        adapter = cache_dit.BlockAdapter(
            transformer=stack,
            blocks=stack.transformer_blocks,
            forward_pattern=cache_dit.ForwardPattern.Pattern_0,
            check_forward_pattern=False,
        )
        config = cache_dit.DBCacheConfig(
            Fn_compute_blocks=1,
            Bn_compute_blocks=0,
            residual_diff_threshold=1.0,
            max_warmup_steps=0,
            enable_separate_cfg=False,
            num_inference_steps=steps,
            steps_computation_mask=[int(step in computed) for step in range(steps)],
            steps_computation_policy="static",
        )
        seer = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=order) if order else None
        cache_dit.enable_cache(adapter, cache_config=config, calibrator_config=seer)

    def run_blocks(step: Pass) -> Sequence[State]:
        rows = zip(stacks, step.states, step.branches, strict=False)
        return [stack(*state, step.time, step.rotary, branch) for stack, state, branch in rows]

    return run_blocks


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
