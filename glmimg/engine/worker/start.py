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
from glmimg.engine.worker.place import end_of_log, log_of, socket_of, sockets
from glmimg.engine.worker.stages import WorkerStages
from glmimg.errors import UsageError, WorkerUnavailable
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
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        if keep is None:
            return stages
        raise UsageError("--keep needs the extra serve", "Install it: pip install 'glmimg[serve]'")
    if keep is None and not any_sockets():
        return stages
    choice = lasting(stages)
    socket = socket_of(choice, stages.model.fingerprint)
    link = Link.to(socket, keep)
    if link is None and keep is not None:
        link = start_worker(choice, socket, keep)
    return stages if link is None else WorkerStages(stages, link)


def any_sockets() -> bool:
    """Whether there may be a worker at all: looking costs an import of httpx less."""
    try:
        return any(sockets())
    except WorkerUnavailable:
        return False


def lasting(stages: CheckpointStages) -> ModelChoice:
    """The choice as it means the same from any folder, and tomorrow."""
    checkpoint = stages.checkpoint
    return stages.choice.model_copy(update={"model": checkpoint.id, "revision": checkpoint.revision})


def start_worker(choice: ModelChoice, socket: Path, keep: float) -> Link:
    """Start a worker, or wait for one that somebody starts just now. Raises WorkerUnavailable (exit 1)."""
    from filelock import FileLock

    with FileLock(socket.with_suffix(".lock")):
        if (link := Link.to(socket, keep)) is not None:
            return link
        errand = Errand(socket=socket, choice=choice, keep=keep).model_dump_json()
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


def running() -> list[Link]:
    """Every worker that answers."""
    return [link for socket in sockets() if (link := Link.to(socket)) is not None]
