"""The memory of this machine: how much is free, what gives it back, and the errors that say it ran out."""

from __future__ import annotations

import ctypes
import errno
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ByteSize, TypeAdapter, ValidationError

from glmimg.errors import OutOfMemory, UsageError

if TYPE_CHECKING:
    import torch

CGROUP_LIMIT, CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")

SIGNS = (
    "allocate memory", "bad_alloc", "failed to map segment from shared object", "start new thread",
    "CUDA error: out of memory", "STATUS_ALLOC_FAILED",
)  # fmt: skip
"""What libraries of C and Rust say where Python has MemoryError, and CUDA's, which fail beside torch's allocator."""


def free_bytes(device: torch.device) -> float:
    """Memory available on `device`, part of which torch may hold already; host memory for CPU and Apple's GPU."""
    import torch

    if device.type in ("cuda", "xpu"):
        backend = torch.cuda if device.type == "cuda" else torch.xpu
        unused = backend.memory_reserved(device) - backend.memory_allocated(device)
        return float(backend.mem_get_info(device)[0] + unused)
    return free_host_bytes()


def free_host_bytes() -> float:
    """Host memory that is available without swapping, within a container's limit."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        limit, used = CGROUP_LIMIT.read_text().strip(), float(CGROUP_USED.read_text())
        return min(free, float(limit) - used) if limit != "max" else free
    except (OSError, ValueError):
        return free


def parse_bytes(text: str, option: str) -> float:
    """The bytes meant by `12GB` (in units of 10^9), `12GiB` (of 2^30) or a plain number. Raises UsageError (exit 2)."""
    try:
        amount = float(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise UsageError(f"{option} {text!r} is not an amount of memory", f"For example {option} 12GB.") from error
    if not 1e6 <= amount <= 1e15:
        raise UsageError(f"{option} {text!r} is not the memory of a card", f"For example {option} 12GB.")
    return amount


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
    """Exclude all present objects from garbage collection: libraries stay as long as the process does.

    They are a million objects, which cost half a second at each collection.
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
        torch.get_device_module(accelerator).empty_cache()  # torch.accelerator's own fails on Apple's GPU
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
