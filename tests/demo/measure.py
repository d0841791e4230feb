"""`python tests/demo/measure.py [--model DIR] [--share 0.2] [--steps 0] [--out FILE] [--pictures DIR]`: score a demo checkpoint.

Held-out captions, edits and words (`cases.py`) are drawn by glmimg, each with a seed of its own, with the checkpoint's
own sampling values, and judged by their pixels. The pictures are those of the stock pipeline: other tests hold that.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from PIL import Image

from glmimg.choice import ModelChoice
from glmimg.demo import demo_path
from glmimg.demo.train.codebook import build_codebook
from glmimg.demo.train.scene import draw_scene
from glmimg.engine.complete import complete
from glmimg.engine.orders import Order, PaintOrder
from glmimg.job import parse_size
from glmimg.runtime.resolve import resolve
from tests.demo.cases import Case, all_cases, tally
from tests.jobs import make_desk

GUIDANCE = 1.5


def picture_of_codes(tokens: list[list[int]]) -> Image.Image:
    """A grid as its codes alone show it, in blocks of four pixels: what the decoder was given."""
    cells = (load_codes()[np.array(tokens)] + 1) * 127.5
    rows, columns = cells.shape[:2]
    blocks = cells.swapaxes(1, 2).reshape(rows * 8, columns * 8, 3).clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(blocks.repeat(4, 0).repeat(4, 1))


@cache
def load_codes() -> np.ndarray:
    """float32 (codes, 8, 8, 3) in -1..1: the patch that each code stands for."""
    return build_codebook().patches


def draw(model: str, cases: list[Case], steps: int) -> Iterator[Image.Image]:
    """The picture of each case, in order; the case's number is its seed. No steps: as its codes alone show it."""
    checkpoint = resolve(model)
    for size, group in groupby(enumerate(cases), lambda numbered: numbered[1].size):
        desk, numbered = make_desk(checkpoint, ModelChoice(model=model), size=size), list(group)
        with tempfile.TemporaryDirectory() as folder:
            orders = []
            for seed, case in numbered:
                files = [Path(folder) / f"{seed}-{at}.png" for at in range(len(case.sources))]
                for file, scene in zip(files, case.sources, strict=True):
                    draw_scene(scene, *size).save(file)
                refs = [desk.shelf.take(file, checkpoint.source_bounds).ref for file in files]
                said = {"prompt": case.text, "seed": seed, "size": parse_size(f"{size[0]}x{size[1]}")}
                orders.append(Order(complete({**said, "steps": steps or 1, "guidance": GUIDANCE}, checkpoint, refs)))
            dumps = [written.dump for written in desk.write(orders)]
            if steps:
                paints = [PaintOrder(dump, order.job.painting) for dump, order in zip(dumps, orders, strict=True)]
                yield from (painted.picture.image for painted in desk.paint(paints))
            else:
                yield from (picture_of_codes(dump.target.tokens) for dump in dumps)
            desk.engine.close()


def measure(model: str, share: float, steps: int, folder: Path | None = None) -> dict[str, Any]:
    """The sums of each row; pictures are kept in `folder` by number, with `cases.json` beside them."""
    cases, started, pictures = all_cases(share), time.monotonic(), []
    for number, picture in enumerate(draw(model, cases, steps)):
        pictures.append(picture)
        if folder:
            picture.save(folder / f"{number:03}.png")
    if folder:
        kept = [
            {"row": case.row, "text": case.text, **case.judge(picture)}
            for case, picture in zip(cases, pictures, strict=True)
        ]
        (folder / "cases.json").write_text(json.dumps(kept, indent=1, default=bool))
    seconds = round((time.monotonic() - started) / len(cases), 2)
    how = {"steps": steps, "share": share, "seconds_a_picture": seconds, "threads": torch.get_num_threads()}
    return {"model": resolve(model).fingerprint(), **how, **tally(cases, pictures)}


def main() -> None:
    """Parse the command line, measure, print and keep the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(demo_path()))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path, help="keep every picture in this folder")
    parser.add_argument("--share", type=float, default=1.0, help="of each row's cases, the first so many")
    parser.add_argument(
        "--steps", type=int, default=20, help="0 judges the codes alone, so the AR stage: too coarse for small stars"
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    report = measure(options.model, options.share, options.steps, options.pictures)
    text = json.dumps({"command": "python tests/demo/measure.py", **report}, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
