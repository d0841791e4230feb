"""The stock diffusers pipeline, the reference of promise 1."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
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


@cache
def stock_pipeline_for_edits(folder: Path) -> Any:
    """The same, with the one line mended that breaks its edits since transformers 5.18.

    There `get_image_features` gives [width, rows, columns] a picture, and the pipeline joins them as if they
    were [cells, width]. Joined flat and parted again on the way to the quantiser, they are what they were.
    """
    import torch
    from packaging.version import Version

    pipeline = stock_pipeline(folder)
    encoder = pipeline.vision_language_encoder
    features_of, tokens_of = encoder.get_image_features, encoder.get_image_tokens

    def get_image_features(*by_the_pipeline: Any, **by_generate: Any) -> Any:
        output = features_of(*by_the_pipeline, **by_generate)
        if by_the_pipeline and output.pooler_output[0].ndim == 3:
            output.pooler_output = [picture.flatten(1).T for picture in output.pooler_output]
        return output

    def get_image_tokens(joined: Any, shapes: Any) -> Any:
        pictures = torch.split(joined, shapes.prod(-1).tolist())
        parted = zip(pictures, shapes.tolist(), strict=True)
        return tokens_of([picture.T.reshape(-1, *shape[1:]).contiguous() for picture, shape in parted], shapes)

    if Version(version("transformers")) >= Version("5.18"):
        encoder.get_image_features, encoder.get_image_tokens = get_image_features, get_image_tokens
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
