"""Atomic file writes: a temporary file in the same folder, fsync, then a rename."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from glmimg.errors import NameTaken, WriteError

NAME_BYTES = 64
"""Of a file's name in that of its temporary file: a name may have 255 bytes, however few characters that is."""


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write `data` to `path` so that a reader, a crash or a full disk never sees half of it.

    Special files such as /dev/full cannot be renamed over and are written to directly.

    replace: what stands at `path`; its permissions stay
    raises:  WriteError (exit 1), NameTaken (exit 1) without `replace`; what stood at `path` before is then untouched
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _put(path, data, replace)
    except FileExistsError as error:
        raise NameTaken(path) from error
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error


def clear_killed(path: Path) -> None:
    """Remove the temporary files of a process that was killed while writing `path`. Nobody else may be writing it."""
    for part in path.parent.glob(f"{glob.escape(_beginning(path))}????????.part"):
        part.unlink(missing_ok=True)


def _beginning(path: Path) -> str:
    """Of the name of its temporary files; of a long name a part and its digest, so that no two share it."""
    name = os.fsencode(path.name)
    if len(name) > NAME_BYTES:
        name = name[: NAME_BYTES - 9] + b"~" + hashlib.sha256(name).hexdigest()[:8].encode()
    return f".{name.decode(errors='ignore')}."


def _put(path: Path, data: bytes, replace: bool) -> None:
    handle, name = tempfile.mkstemp(prefix=_beginning(path), suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(_mode(path))
        if replace:
            part.replace(path)
        else:
            _name_new(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    _sync_folder(path.parent)


def _name_new(part: Path, path: Path) -> None:
    """Give a file its name unless there is one of that name, be it a link to nowhere. Raises FileExistsError."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name is taken first, by an empty file
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        part.replace(path)


def _mode(path: Path) -> int:
    """Permissions of the file that stands there, else those of a new one."""
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; not every file system offers it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
