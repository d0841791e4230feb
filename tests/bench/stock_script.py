"""The plain script people write around `GlmImagePipeline`: MODEL PROMPT SIZE STEPS SEED OUT."""

from __future__ import annotations

import sys

import torch
from diffusers import GlmImagePipeline

if __name__ == "__main__":
    model, prompt, side, steps, seed, out = sys.argv[1:]
    pipeline = GlmImagePipeline.from_pretrained(model, dtype=torch.float32)
    image = pipeline(
        prompt,
        height=int(side),
        width=int(side),
        num_inference_steps=int(steps),
        generator=torch.Generator().manual_seed(int(seed)),
    ).images[0]
    image.save(out)
