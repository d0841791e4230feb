"""How much memory this machine has free."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import UsageError

if TYPE_CHECKING:
    import torch

CGROUP_LIMIT, CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
BINARY = {"k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40}

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def free_bytes(device: torch.device) -> float:
    """Memory a new stage may take on `device`; on the CPU and on Apple's GPUs that of the host."""
    import torch

    if device.type in ("cuda", "xpu"):
        index = device.index if device.index is not None else torch.accelerator.current_device_index()
        backend = torch.cuda if device.type == "cuda" else torch.xpu
        free, _ = backend.mem_get_info(index)
        return float(free)
    return free_host_bytes()


def free_host_bytes() -> float:
    """Host memory that can be taken without pushing others out, within a container's limit."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        limit, used = CGROUP_LIMIT.read_text().strip(), float(CGROUP_USED.read_text())
        return min(free, float(limit) - used) if limit != "max" else free
    except (OSError, ValueError):
        return free


def parse_bytes(text: str, option: str) -> float:
    """`12GB` (10^9, as cards are sold with a little more), `12GiB` (2^30) or a number of bytes, to bytes.

    raises: UsageError (exit 2)
    """
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r} is not an amount of memory", f"For example {option} 12GB.")
    number, unit, binary = match.groups()
    factor = BINARY[unit.lower()] if binary and unit else UNITS[unit.lower()]
    amount = float(number) * factor
    if not 1e6 <= amount <= 1e15:
        raise UsageError(f"{option} {text!r} is no memory of a card", f"For example {option} 12GB.")
    return amount
