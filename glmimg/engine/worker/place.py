"""Where workers are found: a socket for each model choice, in a folder that only its user may enter."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from glmimg import __version__
from glmimg.choice import ModelChoice
from glmimg.errors import WorkerUnavailable

MOST_BYTES = 100
"""Of a socket's path: the system allows 107 on Linux and 103 elsewhere."""

NAME_DIGITS = 16


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


def socket_of(choice: ModelChoice, fingerprint: str) -> Path:
    """The socket of the worker for these weights, loaded so, by this version of glmimg."""
    what = [__version__, fingerprint, choice.model_dump(mode="json"), [_state_of(lora) for lora in choice.lora]]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return folder(make=False) / f"{digest[:NAME_DIGITS]}.sock"


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
