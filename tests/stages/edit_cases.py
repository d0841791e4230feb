"""Edits whose outcome with the stock pipeline is kept in `golden/`, and the pictures they start from.

Sides are multiples of 32 within the tiny checkpoint's bounds: what the stock pipeline can read at all.
"""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class EditCase:
    """One edit. sources are (width, height) in pixels."""

    name: str
    prompt: str
    sources: tuple[tuple[int, int], ...]
    width: int
    height: int
    seed: int
    guidance: float
    steps: int = 4


CASES = [
    EditCase("one", "make the background green", ((128, 96),), 128, 96, 1, 1.5),
    EditCase("two", "put 'A' on the background of \"B\"", ((96, 160), (128, 64)), 96, 96, 2, 2.5),
    EditCase("three", "三个都放进一个场景", ((64, 64), (64, 128), (128, 96)), 64, 96, 3, 1.0),
    EditCase("longest", "a long picture, the same again", ((512, 128),), 128, 64, 4, 1.5),
]


def source_picture(width: int, height: int) -> Image.Image:
    """A picture of waves, edges and a disc, from whole numbers only: the same everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    disc = (2 * x - width) ** 2 + (2 * y - height) ** 2 < min(width, height) ** 2 // 3
    channels = [(3 * x + y) % 256, (x * y // 16 + 40 * disc) % 256, np.where(disc, 220, (5 * y) % 128)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def arithmetic() -> str:
    """What decides the last bit of a float32 product on a CPU.

    The processor's own number counts too: two that share an instruction set are handed other kernels.
    """
    import torch

    torch_side = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    return f"{torch_side}, {torch.get_num_threads()} threads, {_processor()}"


def _processor() -> str:
    """Vendor, family, model and stepping as Linux tells them; elsewhere what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    first = dict(re.findall(r"^(.+?)\s*:\s*(.*)$", cpuinfo.read_text().split("\n\n")[0], re.MULTILINE))
    return " ".join(first.get(key, "?") for key in ("vendor_id", "cpu family", "model", "stepping"))


def weights_digest(folder: Path) -> str:
    """SHA-256 over all weights of a checkpoint by name: golden values hold for these weights alone."""
    from safetensors.torch import load_file

    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in sorted(load_file(path).items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
