"""The knobs as typed keywords, for editors and type checkers. Generated: python -m tests.generate"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "str | Path | Image"


class ModelKeywords(TypedDict, total=False):
    """How a model is loaded."""

    revision: str | None
    device: str
    dtype: Literal["auto", "fp32", "bf16", "fp16"]
    memory: Literal["auto", "resident", "stage", "offload", "stream"]
    quantize: str
    lora: list[str]
    compile: bool | None
    attention: str
    ar_batch: int | None


class PaintingKeywords(TypedDict, total=False):
    """How a dump is painted."""

    preset: str
    dit_seed: int
    steps: int
    guidance: float
    guidance_window: str | None
    negative: str
    scheduler: Literal["euler", "heun", "unipc", "dpm"]
    cache: Literal["light", "deep"] | float | None
    guidance_batch: bool
    drop: str | None
    mask: str | None
    feather: int


class JobKeywords(TypedDict, total=False):
    """What is drawn, and how; sources are those of an edit."""

    sources: Source | Sequence[Source]
    preset: str
    size: str
    seed: int
    temperature: float
    top_p: float
    top_k: int | None
    ar_method: Literal["sequential", "jacobi"]
    ar_window: int | None
    dit_seed: int
    steps: int
    guidance: float
    guidance_window: str | None
    negative: str
    scheduler: Literal["euler", "heun", "unipc", "dpm"]
    cache: Literal["light", "deep"] | float | None
    guidance_batch: bool
    drop: str | None
    mask: str | None
    feather: int
