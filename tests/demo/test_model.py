"""The shipped demo checkpoint draws what the caption says: a dozen held-out captions through the stock pipeline.

`tests/demo/measure.py` runs the whole measurement; its result is kept in `glmimg/demo/scores.json`.
"""

import json

import pytest
import torch
from PIL import Image

from glmimg.ar.prompt import encode_picture
from glmimg.demo import demo_path
from glmimg.grid import GridShape
from glmimg.runtime.checkpoint import Checkpoint

from .cases import all_cases
from .scorer import held_out_prompts, score_prompts
from .stock import StockPipeline

PROMPTS, STEPS = 12, 12


@pytest.fixture(scope="module")
def stock() -> StockPipeline:
    return StockPipeline(demo_path(), steps=STEPS)


def test_the_folder_is_small_enough_for_the_wheel() -> None:
    assert sum(path.stat().st_size for path in demo_path().rglob("*") if path.is_file()) <= 16_000_000


def test_scores_are_kept_beside_the_weights() -> None:
    scores = json.loads((demo_path().parent / "scores.json").read_text())
    assert scores["model"] == Checkpoint("demo", demo_path()).fingerprint()
    assert {case.row for case in all_cases(0)} <= scores.keys()


def test_flat_pictures_have_flat_codes(stock: StockPipeline) -> None:
    """Codes 0 to 9 are the ten plain colours, in the order of COLOUR_NAMES; red is the first, white the last."""
    encoder, processor = stock.pipe.vision_language_encoder, stock.pipe.processor
    for colour, code in (("red", 0), ("white", 9)):
        picture = Image.new("RGB", (256, 256), colour)
        with torch.no_grad():
            grid = encode_picture(encoder, processor, picture, "target", GridShape(8, 8))
        assert grid.flat() == [code] * 64


def test_held_out_captions_are_drawn(stock: StockPipeline) -> None:
    counts = score_prompts(stock.draw, held_out_prompts(PROMPTS))
    assert counts["background_and_colour"] >= 10
    assert counts["shape_and_place"] >= 9
