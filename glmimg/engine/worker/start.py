"""From a model choice to its worker: the one that runs, or a new one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from glmimg import __version__
from glmimg.choice import Keeping, ModelChoice
from glmimg.engine.stages import CheckpointStages
from glmimg.engine.worker.link import Link
from glmimg.engine.worker.place import end_of_log, folder, identity_of, is_dead, lock_of, log_of, socket_of, sockets
from glmimg.engine.worker.stages import WorkerStages
from glmimg.errors import UsageError, WorkerUnavailable
from glmimg.events import unwatched
from glmimg.runtime.device import place
from glmimg.text import excerpt, how_to_install

START_SECONDS = 120.0
POLL_SECONDS = 0.05
LEAVE_SECONDS = 10.0
ROOM_SECONDS = 2.0
"""A worker that answers no sooner has work, and is not asked to leave."""
NEEDED = ("httpx", "starlette", "uvicorn", "python_multipart")
"""What the extra serve installs."""


class Errand(BaseModel):
    """What a worker is started for. keep: seconds it stays without work; identity: as of `place.identity_of`"""

    socket: Path
    identity: str
    choice: ModelChoice
    keep: float


def with_worker(
    stages: CheckpointStages, keeping: Keeping, tell: Callable[[str], None] = unwatched
) -> CheckpointStages | WorkerStages:
    """The stages of the worker for a choice, if there is one or one is to be kept; else these.

    tell:   hears of a worker that does not answer
    raises: UsageError (exit 2) without the extra, WorkerUnavailable (exit 1) if it does not start
    """
    if keeping.no_worker:
        make_room(stages)
        return stages
    if keeping.keep is not None:
        return WorkerStages(stages, start_worker(stages, keeping.keep))
    if missing_extra() or not any_sockets():
        return stages
    link = Link.to(socket := socket_of(identity := _identity(stages)))
    if link is not None and _fits(link, identity):
        return WorkerStages(stages, link)
    if link is None and socket.exists():
        tell(f"the worker of {stages.checkpoint.id} does not answer; going on without it (see glmimg worker stop)")
    make_room(stages)
    return stages


def check_keeping(keeping: Keeping) -> None:
    """Refuse to keep a worker without the extra for it. Raises UsageError (exit 2)."""
    if keeping.keep is not None and not keeping.no_worker:
        check_extra("--keep")


def check_extra(what: str) -> None:
    """Raises UsageError (exit 2) without the libraries that a worker and a server need."""
    if missing := missing_extra():
        hint = how_to_install("serve")
        raise UsageError(f"{what} needs the extra serve: {', '.join(missing)} not installed", hint)


def missing_extra() -> list[str]:
    """What of the extra is not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def any_sockets() -> bool:
    """Whether there may be a worker at all: looking costs an import of httpx less."""
    try:
        return any(sockets())
    except WorkerUnavailable:
        return False


def start_worker(stages: CheckpointStages, keep: float) -> Link:
    """The worker of a choice, started if it does not run. Raises as `with_worker`."""
    check_extra("a worker")
    from filelock import FileLock

    folder()
    socket = socket_of(identity := _identity(stages))
    process, deadline = None, time.monotonic() + START_SECONDS
    with _reported(), FileLock(lock_of(socket)):  # two commands at once start one
        while time.monotonic() < deadline and (process is None or process.poll() is None):
            if (link := Link.to(socket, keep)) is not None:
                if _fits(link, identity):
                    return link
                raise WorkerUnavailable(f"another glmimg answers at {socket}", "Have it leave: glmimg worker stop")
            if process is None and is_dead(socket):
                process = _started(Errand(socket=socket, identity=identity, choice=_lasting(stages), keep=keep))
            time.sleep(POLL_SECONDS)
    last = end_of_log(socket)
    if process is not None:
        process.kill()
    what = "did not start" if process else "does not answer"
    raise WorkerUnavailable(f"the worker {what}{f': {excerpt(last)}' if last else ''}", f"See {log_of(socket)}.")


@contextmanager
def _reported() -> Iterator[None]:
    """Let a full disk and the like be an error of ours."""
    try:
        yield
    except OSError as error:
        raise WorkerUnavailable(
            f"no worker can be started: {error}", "Leave out --keep to draw without one."
        ) from error


def _started(errand: Errand) -> subprocess.Popen[bytes]:
    errand.socket.unlink(missing_ok=True)
    with log_of(errand.socket).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "glmimg.engine.worker", errand.model_dump_json()],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def make_room(stages: CheckpointStages) -> None:
    """Have idle workers leave, the longest idle first, while their device lacks memory for these stages beside them."""
    if not any_sockets() or missing_extra():
        return
    idle = [link for link in running(ROOM_SECONDS) if not link.hello.waiting]
    for link in sorted(idle, key=lambda link: -link.hello.idle):
        if link.hello.device == place(stages.choice, "ar").device.type and stages.lack_memory(stages.open_scope()):
            link.stop(only_idle=True)
            _wait_for_end(link.hello.pid)


def _wait_for_end(pid: int) -> None:
    """Its memory is free once a process is gone."""
    import psutil

    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        psutil.Process(pid).wait(LEAVE_SECONDS)


def _identity(stages: CheckpointStages) -> str:
    return identity_of(_lasting(stages), stages.model.fingerprint)


def _fits(link: Link, identity: str) -> bool:
    """Whether a worker is of this version and holds what its socket's name says."""
    return (link.hello.version, link.hello.identity) == (__version__, identity)


def _lasting(stages: CheckpointStages) -> ModelChoice:
    """The choice as it means the same from any folder, and tomorrow."""
    checkpoint = stages.checkpoint
    return stages.choice.model_copy(update={"model": checkpoint.id, "revision": checkpoint.revision})


def silent(answering: Sequence[Link]) -> list[Path]:
    """The sockets of workers that gave no answer, beside those that did."""
    return [socket for socket in sockets() if socket not in {link.socket for link in answering}]


def running(patience: float | None = None) -> list[Link]:
    """Every worker that answers within some seconds."""
    return [link for socket in sockets() if (link := Link.to(socket, patience=patience)) is not None]
