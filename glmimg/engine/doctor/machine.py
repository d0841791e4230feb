"""What a machine is: versions, device, memory, disk, hub, and which extras are installed."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

from glmimg.engine.provenance import versions
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.distrust import driver_of, name_of
from glmimg.runtime.machine import free_bytes, free_host_bytes
from glmimg.text import excerpt

HUB_SECONDS = 2.0
PIECE, MADE, MOST_READ = 1 << 24, 1 << 26, 1 << 28
"""Bytes: of one reading, of a file made to be read, of what is read of a model."""

NOT_AN_EXTRA = "test"


def facts_of(placement: Placement, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """All of it, as `--json` reports it. checkpoint: whose files are read for the speed of the disk"""
    hub = HubCall()
    device = placement.device
    is_cuda = device.type == "cuda"
    return {
        "versions": {**versions(), "python": platform.python_version()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} processors",
        "device": str(device),
        "name": name_of(device),
        "driver": driver_of(device),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))) if is_cuda else "",
        "precision": placement.precision,
        "free_bytes": int(free_bytes(device)),
        "free_host_bytes": int(free_host_bytes()),
        "extras": extras(),
        "disk": disk_speed(checkpoint),
        "hub": hub.answer(),
    }


def extras() -> dict[str, str]:
    """Each extra of the package: "installed", or what it lacks. Empty where the package itself is not installed."""
    try:
        wanted = [Requirement(text) for text in requires("glmimg") or ()]
    except PackageNotFoundError:
        return {}
    faults: dict[str, list[str]] = {}
    for each in wanted:
        extra = str(each.marker).partition('extra == "')[2].partition('"')[0]
        if extra and extra != NOT_AN_EXTRA:
            faults.setdefault(extra, []).extend(_faults(each))
    return {extra: "; ".join(found) or "installed" for extra, found in faults.items()}


def _faults(wanted: Requirement) -> list[str]:
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return [f"{wanted.name} is not installed"]
    fits = wanted.specifier.contains(there, prereleases=True)
    return [] if fits else [f"{wanted.name} {there} is not {wanted.specifier}"]


def disk_speed(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Bytes a second of reading past the system's cache: a weight file of the model, else a file made for it."""
    if not hasattr(os, "posix_fadvise"):
        return {"note": f"not measured: {sys.platform} tells no way around its cache"}
    from huggingface_hub.constants import HF_HUB_CACHE

    files = [] if checkpoint is None else list(checkpoint.folder.rglob("*.safetensors"))
    largest = max(files, key=lambda file: file.stat().st_size, default=None)
    try:
        if largest is not None and largest.stat().st_size >= MOST_READ:
            return {"bytes_a_second": _read(largest), "of": str(largest.parent)}
        home = HF_HUB_CACHE if os.access(HF_HUB_CACHE, os.W_OK) else None
        with tempfile.NamedTemporaryFile(dir=home) as file:
            for _ in range(MADE // PIECE):
                file.write(os.urandom(PIECE))
            file.flush()
            os.fsync(file.fileno())
            return {"bytes_a_second": _read(Path(file.name)), "of": str(Path(file.name).parent)}
    except OSError as error:
        return {"note": f"not measured: {error.strerror or error}"}


def _read(file: Path) -> int:
    """The speed of the first pieces of a file."""
    with file.open("rb", buffering=0) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started, count = time.perf_counter(), 0
        while count < MOST_READ and (piece := stream.read(PIECE)):
            count += len(piece)
        return int(count / (time.perf_counter() - started))


class HubCall:
    """Asks the hub for a sign of life in the background: looking a name up may take longer than anybody waits."""

    def __init__(self) -> None:
        from huggingface_hub import constants

        self.said = f"no answer within {HUB_SECONDS:.0f} s"
        self.is_offline, self.started = constants.HF_HUB_OFFLINE, time.monotonic()
        self.call = threading.Thread(target=partial(self._ask, constants.ENDPOINT), daemon=True)
        if not self.is_offline:
            self.call.start()

    def answer(self) -> str:
        """What is known two seconds after it was asked."""
        if self.is_offline:
            return "not asked: HF_HUB_OFFLINE is set"
        self.call.join(max(0.0, self.started + HUB_SECONDS - time.monotonic()))
        return self.said

    def _ask(self, endpoint: str) -> None:
        from huggingface_hub.utils._http import get_session

        try:
            status = get_session().head(endpoint, timeout=HUB_SECONDS).status_code
            self.said = f"{endpoint} answers" if status < 500 else f"{endpoint} answers with {status}"
        except Exception as error:  # of whichever HTTP library it has
            self.said = f"{endpoint} is not reached: {excerpt(str(error) or type(error).__name__)}"
