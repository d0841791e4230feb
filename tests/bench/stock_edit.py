"""The plain script people write around `GlmImagePipeline` for an edit: MODEL PROMPT STEPS SEED OUT SOURCE..."""

from __future__ import annotations

import sys

import torch
from diffusers import GlmImagePipeline
from PIL import Image

if __name__ == "__main__":
    model, prompt, steps, seed, out, *sources = sys.argv[1:]
    pictures = [Image.open(source) for source in sources]
    pipeline = GlmImagePipeline.from_pretrained(model, dtype=torch.float32)
    image = pipeline(
        prompt,
        image=pictures,
        height=pictures[0].height,
        width=pictures[0].width,
        num_inference_steps=int(steps),
        generator=torch.Generator().manual_seed(int(seed)),
    ).images[0]
    image.save(out)
