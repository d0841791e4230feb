"""`python tests/demo/measure.py [--model DIR] [--out FILE]`: score a demo checkpoint.

100 held-out captions, 60 held-out edits and 40 held-out words at 256x256 through the stock pipeline; ten captions at
each of four other sizes through glmimg, because the stock pipeline stops with an error where a model ends a grid
early. 50 steps, guidance 1.5, the checkpoint's own sampling values.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.scorer import held_out_edits, held_out_prompts, score_edits, score_prompts
from demo.stock import StockPipeline
from demo.words import held_out_words, score_words

import glmimg
from glmimg.demo import demo_path

OTHER_SIZES = ((384, 256), (256, 384), (320, 320), (512, 512))


def measure(model: Path, prompts: int, edits: int, words: int, others: int, steps: int, seed: int) -> dict[str, Any]:
    """Scores of the checkpoint folder `model`, as counts of right pictures."""
    stock = StockPipeline(model, seed, steps)
    started = time.monotonic()
    text = score_prompts(stock.draw, held_out_prompts(prompts))
    seconds = (time.monotonic() - started) / max(1, prompts)
    report: dict[str, Any] = {"seed": seed, "steps": steps, "text_to_image_256x256": text}
    report["seconds_a_picture"] = round(seconds, 2)
    report["threads"] = torch.get_num_threads()
    if edits:
        report["edits_256x256"] = score_edits(stock.draw_edit, held_out_edits(edits))
    if words:
        report["words_256x256"] = score_words(stock.draw, held_out_words(words))
    for width, height in OTHER_SIZES if others else ():
        captions = held_out_prompts(others, seed=1)
        texts = [text for text, _ in captions]
        with glmimg.load(str(model)) as loaded:
            drawn = loaded.draw(texts, size=f"{width}x{height}", seed=seed, steps=steps)
            pictures = {text: picture.image for text, picture in zip(texts, drawn, strict=True)}
        report[f"text_to_image_{width}x{height}"] = score_prompts(pictures.__getitem__, captions)
    return report


def main() -> None:
    """Parse the command line, measure, print and keep the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=demo_path())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--edits", type=int, default=60)
    parser.add_argument("--words", type=int, default=40)
    parser.add_argument("--others", type=int, default=10, help="captions at each of the other sizes")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = measure(
        options.model, options.prompts, options.edits, options.words, options.others, options.steps, options.seed
    )
    text = json.dumps({"command": "python tests/demo/measure.py", **report}, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
