"""Where workers are found: a socket for each model choice, in a folder that only its user may enter."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from glmimg import __version__
from glmimg.choice import ModelChoice
from glmimg.errors import WorkerUnavailable

MOST_BYTES = 100
"""Of a socket's path: the system allows 107 on Linux and 103 elsewhere."""

NAME_DIGITS = 16

NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR", "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES")
"""Variables that decide which device computes, and how its last bits round."""

SECOND_LOOK_SECONDS = 0.3


def folder(*, make: bool = True) -> Path:
    """The folder, made if it is missing. Raises WorkerUnavailable (exit 1) if it is not this user's alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    shared = Path(tempfile.gettempdir()) / f"glmimg-{os.geteuid()}"
    places = [Path(runtime) / "glmimg", shared] if runtime else [shared]
    for place in places:
        if len(os.fsencode(place)) + NAME_DIGITS + 6 > MOST_BYTES or not place.parent.is_dir():
            continue
        try:
            if make:
                place.mkdir(mode=0o700, exist_ok=True)
            status = place.lstat()
        except FileNotFoundError:
            return place
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077:
            return place
        raise WorkerUnavailable(f"{place} is not a folder that only you may enter", f"Remove it, or: chmod 700 {place}")
    raise WorkerUnavailable("there is no place for a worker's socket", "Set XDG_RUNTIME_DIR to a short path.")


def identity_of(choice: ModelChoice, fingerprint: str) -> str:
    """A name for these weights, loaded so, by this version of glmimg, on processors that round so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rounding = [cores, *(os.environ.get(name) for name in NUMBERS)]
    adapters = [_state_of(lora) for lora in choice.lora]
    what = [__version__, fingerprint, choice.model_dump(mode="json"), adapters, rounding]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:NAME_DIGITS]


def socket_of(identity: str) -> Path:
    """Where the worker of that name listens."""
    return folder(make=False) / f"{identity}.sock"


def is_dead(path: Path) -> bool:
    """Whether nobody listens at a socket, at a second look either: who starts has a name before it listens."""
    for pause in (0.0, SECOND_LOOK_SECONDS):
        time.sleep(pause)
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(SECOND_LOOK_SECONDS)
            try:
                line.connect(str(path))
            except FileNotFoundError:
                return True
            except ConnectionRefusedError:
                continue
            except OSError:
                return False
            return False
    return True


def clear_dead(path: Path) -> None:
    """Remove the socket of a worker that died, unless somebody starts another there."""
    from filelock import FileLock, Timeout

    with suppress(Timeout), FileLock(lock_of(path), timeout=0):
        if is_dead(path):
            path.unlink(missing_ok=True)


def lock_of(path: Path) -> Path:
    """Held by who starts a worker."""
    return path.with_suffix(".lock")


def sockets() -> Iterator[Path]:
    """Of every worker there may be."""
    yield from sorted(folder(make=False).glob("*.sock"))


def log_of(socket: Path) -> Path:
    """What a worker prints, of its last start."""
    return socket.with_suffix(".log")


def end_of_log(socket: Path) -> str:
    """The last line a worker left in its log, empty if there is none."""
    try:
        lines = log_of(socket).read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _state_of(lora: str) -> list[object]:
    """What tells an adapter from another under its name: where a path is meant from, and when its file changed."""
    from glmimg.runtime.lora import split_spec

    path = Path(split_spec(lora)[0]).absolute()
    if not path.exists():
        return []
    status = path.stat()
    return [str(path), status.st_mtime_ns, status.st_size]
