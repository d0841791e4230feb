"""How much memory this machine has free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ByteSize, TypeAdapter, ValidationError

from glmimg.errors import UsageError

if TYPE_CHECKING:
    import torch

CGROUP_LIMIT, CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def free_bytes(device: torch.device) -> float:
    """Memory that may be taken on `device`, of which torch may have some already; the host's for CPU and Apple's."""
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
