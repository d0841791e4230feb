"""What the stages of a checkpoint take, and what a device has left."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.runtime.checkpoint import HALVES, WEIGHT_STEMS, Checkpoint

if TYPE_CHECKING:
    from glmimg.runtime.device import Placement


def weights_bytes(checkpoint: Checkpoint, placement: Placement) -> tuple[int, int]:
    """Memory of the weights of stage 1 and stage 2 in the placement's dtype, read off the files' headers."""
    sizes = [0, 0]
    for half, parts in enumerate(HALVES.values()):
        for part in parts:
            for file in checkpoint.weight_files(part) if part in WEIGHT_STEMS else ():
                sizes[half] += _elements(file) * placement.dtype.itemsize
    return sizes[0], sizes[1]


def free_bytes(placement: Placement) -> int:
    """Memory that can still be taken on the placement's device."""
    if placement.device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(placement.device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


def _elements(file: Path) -> int:
    """Numbers in a safetensors file, from its header alone."""
    from safetensors import safe_open

    with safe_open(file, framework="np") as tensors:
        return sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
