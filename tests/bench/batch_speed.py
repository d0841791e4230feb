"""Many prompts four ways: `batch`, the co-process, a shell loop of t2i, the stock pipeline loaded once.

    python -m tests.bench.batch_speed [MODEL] [--prompts 100] [--loop 5]

The shell loop is measured over a few prompts and scaled: each of its turns is a process of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from glmimg.runtime.resolve import resolve
from tests.bench.processes import glmimg, keep, measure

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "ring")
STOCK = """
import sys, torch
from diffusers import GlmImagePipeline
model, steps = sys.argv[1], int(sys.argv[2])
pipeline = GlmImagePipeline.from_pretrained(model, dtype=torch.float32)
pipeline.set_progress_bar_config(disable=True)
for number, prompt in enumerate(sys.stdin.read().splitlines()):
    generator = torch.Generator().manual_seed(number)
    side = pipeline.vae.config.sample_size
    image = pipeline(prompt, height=side, width=side, num_inference_steps=steps, generator=generator).images[0]
    image.save(f"{sys.argv[3]}/{number}.png")
"""


def prompt_list(count: int) -> list[str]:
    """Different prompts the demo model understands, up to 500."""
    pairs = [
        f"a {colour} {shape} on a {ground} background" for shape in SHAPES for colour in COLOURS for ground in COLOURS
    ]
    return pairs[:: max(1, len(pairs) // count)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--loop", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    prompts = prompt_list(arguments.prompts)
    text = "\n".join(prompts).encode()
    common = ["-m", arguments.model, "--steps", str(arguments.steps), "-q"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prompts.txt").write_bytes(text)
        batch = measure(glmimg("batch", folder / "prompts.txt", *common, "-o", folder / "out")).wall
        coprocess = measure(glmimg("t2i", "--prompts", "-", *common, "-o", folder / "{index}.png"), stdin=text).wall
        turns = [
            measure(glmimg("t2i", each, *common, "-o", folder / "x.png", "-f")) for each in prompts[: arguments.loop]
        ]
        loop = sum(turn.wall for turn in turns) / len(turns) * len(prompts)
        checkpoint = str(resolve(arguments.model).folder)
        stock = measure([sys.executable, "-c", STOCK, checkpoint, str(arguments.steps), name], stdin=text).wall
    keep(
        "batch_speed",
        {
            "model": Path(arguments.model).name,
            "prompts": len(prompts),
            "steps": arguments.steps,
            "batch_s": round(batch, 1),
            "coprocess_s": round(coprocess, 1),
            "shell_loop_s_scaled": round(loop, 1),
            "stock_loaded_once_s": round(stock, 1),
            "times_more_pictures_than_the_loop": round(loop / batch, 2),
            "time_against_stock": round(batch / stock, 2),
        },
    )


if __name__ == "__main__":
    main()
