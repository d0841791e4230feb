"""Fast paths that failed their check on this machine, remembered so that nothing takes them again.

`glmimg doctor` finds them. They are kept beside the config file, for one device with one driver, one version of torch
and one of glmimg: with another of these a path has to be tried anew.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg import __version__
from glmimg.home import beside, write_own

if TYPE_CHECKING:
    import torch

NAME = "distrusted.json"
DRIVER, PROCESSORS = Path("/sys/module/nvidia/version"), Path("/proc/cpuinfo")
"""Where Linux tells the version of NVIDIA's driver, and what its processors are."""


def machine_of(device: torch.device) -> str:
    """What a finding holds for, such as `NVIDIA H100, driver 580.65, torch 2.11.0, glmimg 0.1.0`."""
    import torch

    return f"{name_of(device)}, driver {driver_of(device) or 'none'}, torch {torch.__version__}, glmimg {__version__}"


def name_of(device: torch.device) -> str:
    """What a device is called by its maker, as far as it tells."""
    import torch

    if device.type in ("cuda", "xpu"):
        return str(torch.get_device_module(device).get_device_name(device))
    try:
        lines = PROCESSORS.read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def driver_of(device: torch.device) -> str:
    """The version of a card's driver, empty where nobody tells."""
    if device.type != "cuda":
        return ""
    import torch

    try:
        return DRIVER.read_text().strip()
    except OSError:
        return str(torch.version.hip or torch.version.cuda or "")


def distrusted(device: torch.device) -> dict[str, str]:
    """Paths that failed on this device, such as `ar graph`, each with why."""
    return _read().get(machine_of(device), {})


def remember(device: torch.device, found: Mapping[str, str], checked: set[str]) -> None:
    """Keep which of the paths just checked failed, and why; what was not checked stays as it was.

    raises: WriteError (exit 1)
    """
    known, machine = _read(), machine_of(device)
    kept = {path: why for path, why in known.get(machine, {}).items() if path not in checked} | dict(found)
    if kept != known.get(machine, {}):
        _write({**known, machine: kept})


def forget(device: torch.device) -> dict[str, str]:
    """Trust every path of this device again. Returns those that were distrusted. Raises WriteError (exit 1)."""
    known = _read()
    gone = known.pop(machine_of(device), {})
    if gone:
        _write(known)
    return gone


def _read() -> dict[str, dict[str, str]]:
    """What is kept; nothing where the file is not there, or is not one of ours."""
    try:
        found = json.loads(beside(NAME).read_bytes())
        return {str(machine): {str(path): str(why) for path, why in each.items()} for machine, each in found.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _write(known: Mapping[str, Mapping[str, str]]) -> None:
    write_own(beside(NAME), json.dumps({machine: each for machine, each in known.items() if each}, indent=1))
