"""What changing tokens is worth: `python -m tests.bench.demo_tokens [redraw] [roundtrip] [CASES] [--model demo]`.

redraw:    two shapes, left and right; the right half is redrawn for a prompt in which the right shape has
           another colour. Counted: left cells untouched, new colour there.
roundtrip: true pictures to tokens and back to pictures. Counted: background and shape colour still right.
"""

# ruff: noqa: I001, RUF100 (the order it asks for depends on whether the demo is checked out)

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from glmimg.demo.train.captions import caption
from glmimg.demo.train.scene import COLOUR_NAMES, KINDS, Scene, Shape, draw_scene
from glmimg.engine.complete import complete
from glmimg.choice import ModelChoice
from glmimg.engine.orders import Desk, Order, PaintOrder
from glmimg.job import Painting, parse_size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.resolve import resolve
from glmimg.tokens.change import Reading, Redraw, parent
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.region import box_region
from tests.bench.processes import keep
from tests.jobs import make_desk
from tests.demo.scorer import held_out_prompts, judge, judge_shape

STEPS, GUIDANCE, SIDE = 20, 1.5, 256
RIGHT_HALF = "128,0,256,256"


def two_shapes(number: int) -> tuple[Scene, Scene, str, str]:
    """A scene, the same with another colour on the right, and their captions in one phrasing."""
    dice = random.Random(number)
    ground, left, right, new = dice.sample(COLOUR_NAMES, 4)
    one, other = dice.choice(KINDS), dice.choice(KINDS)
    before = Scene(ground, (Shape(one, left, "plain", "left"), Shape(other, right, "plain", "right")))
    after = replace(before, shapes=(before.shapes[0], replace(before.shapes[1], colour=new)))
    return before, after, *(caption(random.Random(number), scene) for scene in (before, after))


def paint(desk: Desk, dumps: list[TokenDump]) -> Iterator[Any]:
    orders = [PaintOrder(dump, Painting(dit_seed=dump.seed, steps=STEPS, guidance=GUIDANCE)) for dump in dumps]
    return (painted.picture.image for painted in desk.paint(orders))


def redraw(desk: Desk, checkpoint: Checkpoint, cases: int) -> dict[str, int]:
    """Counts over `cases` pairs of shapes. untouched: every target cell of the left half as before."""
    found = {"cases": cases, "untouched": 0, "colour": 0, "background_kept": 0}
    new, scenes = [], []
    for number in range(cases):
        _, after, prompt, changed = two_shapes(number)
        said = {"size": parse_size(f"{SIDE}x{SIDE}"), "steps": STEPS, "guidance": GUIDANCE}
        (written,) = desk.write([Order(complete({**said, "prompt": prompt, "seed": number}, checkpoint))])
        base = written.dump
        job = complete({**said, "prompt": changed, "seed": number + 1}, checkpoint)
        region = box_region(RIGHT_HALF, (SIDE, SIDE))
        masks = tuple(region.cells(grid.shape) for grid in base.grids)
        (redrawn,) = desk.redraw([(Redraw(job, tuple(base.grids), masks, ()), None)])
        half = base.target.width // 2
        found["untouched"] += [row[:half] for row in base.target.tokens] == [
            row[:half] for row in redrawn.target.tokens
        ]
        new.append(redrawn)
        scenes.append(after)
    for image, scene in zip(paint(desk, new), scenes, strict=True):
        found["colour"] += judge_shape(image, scene, scene.shapes[1])[0]
        found["background_kept"] += judge(image, scene).background
    return found


def roundtrip(desk: Desk, checkpoint: Checkpoint, cases: int) -> dict[str, int]:
    """Counts over `cases` true pictures of held-out scenes."""
    found = {"cases": cases, "background_and_colour": 0}
    prompts, dumps = held_out_prompts(cases), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.png"
        for number, (_, scene) in enumerate(prompts):
            image = draw_scene(scene, SIDE, SIDE)
            image.save(path)
            painting = Painting(dit_seed=number, steps=STEPS, guidance=GUIDANCE)
            reading = Reading(image.convert("RGB"), SIDE, SIDE, "", number, painting, parent("picture", path, 64))
            dumps.append(desk.encode(reading, None))
    for image, (_, scene) in zip(paint(desk, dumps), prompts, strict=True):
        verdict = judge(image, scene)
        found["background_and_colour"] += verdict.background and verdict.colour
    return found


MEASURES = {"redraw": (redraw, 50), "roundtrip": (roundtrip, 100)}
"""What can be asked for, and over how many cases as a rule."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, everything by default, and keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="redraw, roundtrip, a number of cases")
    parser.add_argument("--model", default="demo")
    said = parser.parse_args(arguments)
    checkpoint = resolve(said.model)
    for name in [word for word in said.words if word in MEASURES] or MEASURES:
        measure, usual = MEASURES[name]
        count = next((int(word) for word in said.words if word.isdecimal()), usual)
        started = time.perf_counter()
        desk = make_desk(checkpoint, ModelChoice(model=said.model), size=(SIDE, SIDE))
        counts = measure(desk, checkpoint, count)
        desk.engine.close()
        seconds = round(time.perf_counter() - started)
        keep(f"demo_{name}", {**counts, "model": checkpoint.fingerprint(), "seconds": seconds})


if __name__ == "__main__":
    main()
