"""Which attention kernels serve passes whose number of keys is another one every time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def unplanned_attention(device: torch.device) -> AbstractContextManager[object]:
    """Leave cuDNN out of attention on CUDA while passes of varying shape run.

    torch prefers it in half precision, and it makes a plan for every number of keys it meets, which takes about
    30 ms: more than the pass. Flash and memory-efficient attention take any shape at once. The DiT, whose shapes
    stay, is not run in here: there cuDNN is the fastest.
    """
    if device.type != "cuda":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(kernels)
