"""From a model choice to its worker: the one that runs, or a new one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from glmimg.choice import ModelChoice
from glmimg.engine.stages import CheckpointStages
from glmimg.engine.worker.link import Link
from glmimg.engine.worker.place import end_of_log, folder, log_of, socket_of, sockets
from glmimg.engine.worker.stages import WorkerStages
from glmimg.errors import UsageError, WorkerUnavailable
from glmimg.runtime.checkpoint import PARTS
from glmimg.runtime.machine import free_host_bytes
from glmimg.text import excerpt

START_SECONDS = 120.0
POLL_SECONDS = 0.05
NEEDED = ("httpx", "starlette", "uvicorn")


class Errand(BaseModel):
    """What a worker is started for. keep: seconds it stays without work"""

    socket: Path
    choice: ModelChoice
    keep: float


def with_worker(stages: CheckpointStages, keep: float | None = None) -> CheckpointStages | WorkerStages:
    """The stages of the worker for a choice, if there is one or one is to be kept; else these.

    keep:   seconds a worker shall stay without work: then it is started if there is none
    raises: UsageError (exit 2) without the extra, WorkerUnavailable (exit 1) if it does not start
    """
    if keep is not None:
        return WorkerStages(stages, start_worker(stages, keep))
    if not has_extra() or not any_sockets():
        return stages
    link = Link.to(_socket(stages))
    return stages if link is None else WorkerStages(stages, link)


def has_extra() -> bool:
    """Whether what a worker needs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


def any_sockets() -> bool:
    """Whether there may be a worker at all: looking costs an import of httpx less."""
    try:
        return any(sockets())
    except WorkerUnavailable:
        return False


def start_worker(stages: CheckpointStages, keep: float) -> Link:
    """The worker of a choice, started if it does not run. Raises as `with_worker`."""
    if not has_extra():
        raise UsageError("a worker needs the extra serve", "Install it: pip install 'glmimg[serve]'")
    from filelock import FileLock

    folder()
    socket = _socket(stages)
    with FileLock(socket.with_suffix(".lock")):  # two commands at once start one
        if (link := Link.to(socket, keep)) is not None:
            return link
        make_room(stages)
        errand = Errand(socket=socket, choice=_lasting(stages), keep=keep).model_dump_json()
        with log_of(socket).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "glmimg.engine.worker", errand],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if (link := Link.to(socket)) is not None:
                return link
            time.sleep(POLL_SECONDS)
    last = end_of_log(socket)
    process.kill()
    raise WorkerUnavailable(f"the worker did not start{f': {excerpt(last)}' if last else ''}", f"See {log_of(socket)}.")


def make_room(stages: CheckpointStages) -> None:
    """Have idle workers of other choices leave, if the weights do not fit into the host's memory beside theirs."""
    files = {file for part in PARTS for file in stages.checkpoint.weight_files(part)}
    if sum(file.stat().st_size for file in files) > free_host_bytes():
        for link in running():
            link.leave_if_idle()


def _socket(stages: CheckpointStages) -> Path:
    return socket_of(_lasting(stages), stages.model.fingerprint)


def _lasting(stages: CheckpointStages) -> ModelChoice:
    """The choice as it means the same from any folder, and tomorrow."""
    checkpoint = stages.checkpoint
    return stages.choice.model_copy(update={"model": checkpoint.id, "revision": checkpoint.revision})


def running() -> list[Link]:
    """Every worker that answers."""
    return [link for socket in sockets() if (link := Link.to(socket)) is not None]
