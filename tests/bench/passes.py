"""Ways to paint with fewer passes: time and distance, `python -m tests.bench.passes [MODEL] [PROMPTS] [WAY...]`.

Each prompt's and each edit's tokens are drawn once; every way then paints the same dumps in one process with
everything loaded, the default just before it. WAY: only those whose names begin with one of these.
Times are the processor's, which others on the machine disturb less than the wall clock's. PSNR and SSIM compare
with the default's pictures.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from glmimg.choice import ModelChoice
from glmimg.demo.train.scene import draw_scene
from glmimg.dit.stage import DiTStage
from glmimg.engine.complete import complete, complete_painting
from glmimg.engine.orders import Order
from glmimg.job import Painting, Size, SourceRef, parse_window
from glmimg.preset import load_preset
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump
from tests.bench.processes import keep
from tests.demo.cases import edit_cases
from tests.jobs import make_desk

PROMPTS = [
    "a red circle on a blue background",
    "a large green star at the top on a white background",
    "a small yellow square on the left on a black background",
    "a purple triangle at the bottom right on an orange background",
]
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "window 0.1,0.8": {"guidance_window": "0.1,0.8"},
    "window 0,0.5": {"guidance_window": "0,0.5"},
    "one batch": {"guidance_batch": True},
    "no guidance": {"guidance": 1.0},
    "20 steps": {"steps": 20},
    "12 steps": {"steps": 12},
    "unipc, 20 steps": {"steps": 20, "scheduler": "unipc"},
    "unipc, 12 steps": {"steps": 12, "scheduler": "unipc"},
    "unipc, 8 steps": {"steps": 8, "scheduler": "unipc"},
    "unipc, 16 steps": {"steps": 16, "scheduler": "unipc"},
    "unipc, 16, window": {"steps": 16, "scheduler": "unipc", "guidance_window": "0,0.5"},
    "dpm, 20 steps": {"steps": 20, "scheduler": "dpm"},
    "dpm, 12 steps": {"steps": 12, "scheduler": "dpm"},
    "heun, 10 steps": {"steps": 10, "scheduler": "heun"},
    "cache 0.05": {"cache": 0.05},
    "cache 0.12": {"cache": 0.12},
    "cache 0.3": {"cache": 0.3},
    "light": {"cache": "light"},
    "deep": {"cache": "deep"},
    "unipc, 12, light": {"steps": 12, "scheduler": "unipc", "cache": "light"},
    "unipc, 20, deep": {"steps": 20, "scheduler": "unipc", "cache": "deep"},
    "heun, 20, deep": {"steps": 20, "scheduler": "heun", "cache": "deep"},
    "window, light": {"guidance_window": "0.1,0.8", "cache": "light"},
    "preset fast": {"preset": "fast"},
    "preset draft": {"preset": "draft"},
    "default again": {},
}


def settings(way: dict[str, Any], dump: TokenDump) -> Painting:
    """What a way changes, over the default preset."""
    changes = dict(way)
    if "preset" in changes:
        changes |= load_preset(changes.pop("preset")).values
    if "guidance_window" in changes:
        changes["guidance_window"] = parse_window(changes["guidance_window"])
    return complete_painting(changes, dump.seed, dump.size)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures in dB, 99 for equal ones."""
    error = float(np.square(one - other).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of 8-bit pictures over windows of 8x8 px. source: Wang et al. 2004, equation 13."""
    first, second = (
        each[: each.shape[0] // 8 * 8, : each.shape[1] // 8 * 8].mean(-1).reshape(each.shape[0] // 8, 8, -1, 8)
        for each in (one, other)
    )
    axes = (1, 3)
    mean_1, mean_2 = first.mean(axes), second.mean(axes)
    covariance = (first * second).mean(axes) - mean_1 * mean_2
    steady_1, steady_2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_1 * mean_2 + steady_1) * (2 * covariance + steady_2)
    below = (mean_1**2 + mean_2**2 + steady_1) * (first.var(axes) + second.var(axes) + steady_2)
    return float((above / below).mean())


def paint(stage: DiTStage, dumps: list[TokenDump], way: dict[str, Any]) -> tuple[float, list[np.ndarray]]:
    """Median processor seconds a picture, and the pictures."""
    seconds, pictures = [], []
    for dump in dumps:
        started = time.process_time()
        image = stage.paint(dump, settings(way, dump), lambda event: None)
        seconds.append(time.process_time() - started)
        pictures.append(np.asarray(image).astype(float))
    return statistics.median(seconds), pictures


def compare(seconds: float, pictures: list[np.ndarray], reference: list[np.ndarray]) -> dict[str, float]:
    """The figures of some pictures against the default's."""
    pairs = list(zip(pictures, reference, strict=True))
    return {
        "seconds": round(seconds, 3),
        "psnr_db": round(statistics.mean(psnr(*pair) for pair in pairs), 1),
        "psnr_least_db": round(min(psnr(*pair) for pair in pairs), 1),
        "ssim": round(statistics.mean(ssim(*pair) for pair in pairs), 4),
    }


def draw(model: str, prompts: int, folder: Path) -> tuple[DiTStage, dict[str, list[TokenDump]]]:
    """A loaded stage 2, and what it paints: dumps of prompts, and where the model can edit, of as many edits."""
    choice, checkpoint, shelf = ModelChoice(model=model), resolve(model), SourceShelf()
    desk = make_desk(checkpoint, choice, shelf=shelf)

    def source(name: str, scene: Any) -> SourceRef:
        path = folder / f"{name}.png"
        draw_scene(scene, 256, 256).save(path)
        return shelf.take(path, checkpoint.source_bounds).ref

    asked: dict[str, list[tuple[str, list[SourceRef]]]] = {"prompts": [(text, []) for text in PROMPTS[:prompts]]}
    edits = [(each.text, each.sources) for each in edit_cases("edits", prompts)]
    asked["edits"] = [
        (text, [source(f"{number}-{at}", scene) for at, scene in enumerate(scenes)])
        for number, (text, scenes) in enumerate(edits)
    ]
    said = {"seed": 1, "size": Size(256, 256)}
    orders = {
        kind: [Order(complete({"prompt": text, **said}, checkpoint, refs)) for text, refs in pairs]
        for kind, pairs in asked.items()
    }
    dumps = {kind: [written.dump for written in desk.write(each)] for kind, each in orders.items()}
    desk.engine.close()
    return DiTStage.load(checkpoint, place(choice), lambda event: None, shelf), dumps


def run(model: str, prompts: int, names: tuple[str, ...]) -> dict[str, Any]:
    """The table, by way; of each way what it takes of the default's time just before it."""
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        stage, dumps = draw(model, prompts, Path(scratch))
        reference = {kind: paint(stage, each, {}) for kind, each in dumps.items()}  # warms up too
        for name, way in WAYS.items():
            by_number = isinstance(way.get("cache"), float)
            if not name.startswith(names) or (by_number and find_spec("cache_dit") is None):
                continue
            table[name] = {}
            for kind, each in dumps.items():
                default = paint(stage, each, {})[0]
                figures = compare(*paint(stage, each, way), reference[kind][1])
                table[name][kind] = {"of_default": round(figures["seconds"] / default, 3), **figures}
                sys.stderr.write(f"{name:18} {kind:8} {table[name][kind]}\n")
    return table


if __name__ == "__main__":
    model, prompts = [*sys.argv[1:3], *("demo", str(len(PROMPTS)))[len(sys.argv[1:3]) :]]
    keep(
        "passes_some" if sys.argv[3:] else "passes",
        {"model": model, "ways": run(model, int(prompts), tuple(sys.argv[3:]) or ("",))},
    )
