"""The stock diffusers pipeline, the reference of promise 1."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


@cache
def stock_pipeline(folder: Path) -> Any:
    """`GlmImagePipeline` of a checkpoint, fp32 on the CPU, without a progress bar."""
    import torch
    from diffusers import GlmImagePipeline

    pipeline = GlmImagePipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stock_tokens(folder: Path, prompt: str, height: int, width: int, seed: int) -> list[list[int]]:
    """The target grid the stock pipeline draws, as d32 rows."""
    import torch

    ids, _, _ = stock_pipeline(folder).generate_prior_tokens(
        prompt, height, width, generator=torch.Generator().manual_seed(seed)
    )
    upsampled = ids.view(height // 16, width // 16)
    rows: list[list[int]] = upsampled[::2, ::2].tolist()
    return rows
