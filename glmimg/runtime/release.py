"""Giving memory back: to the device, and from the C library's heap to the system."""

from __future__ import annotations

import ctypes
import errno
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from glmimg.errors import OutOfMemory

SIGNS = (
    "allocate memory", "bad_alloc", "failed to map segment from shared object", "start new thread",
    "CUDA error: out of memory", "STATUS_ALLOC_FAILED",
)  # fmt: skip
"""What libraries of C and Rust say where Python has MemoryError, and CUDA's, which fail beside torch's allocator."""


IMPORTED = 1_000_000
"""More objects than the libraries of both stages make as they are imported."""


@contextmanager
def importing() -> Iterator[None]:
    """Leave the collector out while libraries come in: of the 600,000 objects they make, 24 were garbage."""
    usual = gc.get_threshold()
    gc.set_threshold(IMPORTED)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@cache
def settle_imports() -> None:
    """Take what there is by now out of the collector's sight: libraries stay as long as the process does.

    They are a million objects, which cost half a second each time somebody looks through them.
    """
    gc.freeze()


def release_memory() -> None:
    """Collect garbage and return the freed memory.

    glibc keeps small freed blocks, which after a stage add up to many megabytes that the next stage would come on top
    of. Other C libraries return them by themselves.
    """
    import torch

    gc.collect()
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        torch.get_device_module(accelerator).empty_cache()  # torch.accelerator.memory came with 2.9
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that host or device memory ran out. Imports no torch: without it, no device's can."""
    torch = sys.modules.get("torch")
    return (
        isinstance(error, MemoryError | OutOfMemory)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(sign in str(error) for sign in SIGNS)
    )
