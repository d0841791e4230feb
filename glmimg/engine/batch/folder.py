"""A batch's files in a folder, local or mounted by several machines, with locks; results are appended to one file."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from glmimg.atomic import write_atomically
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.remote import RESULTS, RemoteStore, Stamp
from glmimg.engine.output_files import clear_dead
from glmimg.errors import DeviceLost, OutputError, WriteError
from glmimg.files import hash_file, local_path

HIDDEN = ".glmimg"
"""Folder for locks inside the output folder; it holds nothing a finished batch needs."""

TRIED = ".tried"
"""Ending of the file that has a byte for each process that took up a job and did not let go of it."""

_PART = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_PRESENCE = ".run-"


def open_store(place: str, *, make: bool = True) -> Store:
    """The store at a path or at an fsspec URI such as s3://bucket/folder.

    make:   create the folder if it is missing
    raises: OutputError (exit 2) if it cannot be one
    """
    if not place:
        raise OutputError("the folder's name is empty", "For example --out out/.")
    if "://" in place and not place.startswith("file://"):
        return RemoteStore.open(place, make=make)
    path = local_path(place) if "://" in place else Path(place)
    if path is None:
        raise OutputError(f"{place} names another machine", "Write the path itself, or file:///PATH.")
    return FolderStore.open(str(path), make=make)


class FolderStore:
    """A folder, with locks.

    Locks are flock(2): released when the process ends, and as reliable between machines as the
    shared file system makes them (NFS 4 and local disks: yes; some FUSE mounts: no).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read_bytes = 0
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: str, *, make: bool = True) -> FolderStore:
        """The folder at `path`. Raises OutputError (exit 2) if it cannot be one."""
        folder = Path(path)
        if not make and (folder.is_dir() or not folder.exists()):
            return cls(folder)
        for each in (folder, folder / HIDDEN):
            try:
                each.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise OutputError(f"{each} is not a folder", "Give a folder for the batch with --out.") from error
            except OSError as error:
                reason = f"the folder {each} cannot be created: {error.strerror}"
                raise OutputError(reason, "Choose another place.") from error
            if not os.access(each, os.R_OK | os.W_OK | os.X_OK):
                raise OutputError(f"the folder {each} is not writable", "Choose another place with --out.")
        results = folder / RESULTS
        if os.path.lexists(results) and not (results.is_file() and os.access(results, os.R_OK | os.W_OK)):
            raise OutputError(
                f"{results} is not a file that can be read and written", "Choose another place with --out."
            )
        return cls(folder)

    @property
    def root(self) -> str:
        """The path that `open_store` takes."""
        return str(self.folder)

    def stamps(self) -> dict[str, Stamp]:
        """The stamp of every file."""
        if not self.folder.exists():
            return {}
        with os.scandir(self.folder) as entries:
            return {entry.name: _stamp(entry.stat()) for entry in entries if entry.is_file()}

    def exists(self, name: str) -> bool:
        """Whether a file is there, whole."""
        return (self.folder / name).is_file()

    def stamp(self, name: str) -> Stamp:
        """The stamp of one file. Raises OSError."""
        return _stamp((self.folder / name).stat())

    def read(self, name: str) -> bytes:
        """Read a file. Raises OSError."""
        return (self.folder / name).read_bytes()

    def write(self, name: str, data: bytes, *, replace: bool = False) -> None:
        """Write a file atomically. Raises WriteError (exit 1); NameTaken without `replace` if the file exists."""
        with self._writing:
            write_atomically(self.folder / name, data, replace=replace)

    def hashes(self, job: BatchJob) -> dict[str, str]:
        """SHA-256 of a job's `picture` and `tokens`; empty if computing them would mean downloading the files."""
        names = {"picture": job.picture, "tokens": job.dump}
        return {what: hash_file(self.folder / name) for what, name in names.items()}

    def local(self, name: str) -> Path | None:
        """The file's local path, if it has one; unfinished work is only saved there."""
        return self.folder / name

    def place(self, name: str) -> str:
        """The file's name for messages: a path or a URI."""
        return str(self.folder / name)

    def read_results(self) -> Iterator[bytes]:
        """Complete result lines that were not read before, oldest first."""
        path = self.folder / RESULTS
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read_bytes += len(line)
                yield line

    def add_result(self, line: bytes) -> None:
        """Append a result line; it is on disk when this returns. Raises WriteError (exit 1)."""
        path = self.folder / RESULTS
        try:
            with self._lock(".results"), path.open("a+b") as file:
                end = file.seek(0, os.SEEK_END)
                torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
                left = (b"\n" if torn else b"") + line + b"\n"
                try:
                    while left:
                        left = left[os.write(file.fileno(), left) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise WriteError(path, error.strerror or str(error)) from error

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold a job for this process while the context lasts; yields False if another process holds it."""
        tried = self.folder / HIDDEN / (name + TRIED)
        lock = self._lock(name)
        try:
            lock.acquire(blocking=False)
            with tried.open("ab") as file:
                file.write(b".")
        except Timeout:
            yield False
            return
        except OSError as error:
            lock.release()
            raise WriteError(error.filename or tried, error.strerror or str(error)) from error
        dead = False
        try:
            yield True
        except DeviceLost:
            dead = True
            raise
        finally:
            for path in (Path(lock.lock_file), *(() if dead else (tried,))):
                with contextlib.suppress(OSError):
                    path.unlink()
            lock.release()

    def deaths(self) -> dict[str, int]:
        """How often a process died while it held a job, by job."""
        found: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / HIDDEN) as entries:
            for tried in entries:
                with contextlib.suppress(FileNotFoundError):
                    if tried.name.endswith(TRIED):
                        found[tried.name.removesuffix(TRIED)] = tried.stat().st_size
        return found

    def forgive(self, name: str) -> None:
        """Forget that processes died while they held this job."""
        (self.folder / HIDDEN / (name + TRIED)).unlink(missing_ok=True)

    @contextmanager
    def present(self) -> Iterator[None]:
        """Register this process as working here; a process that is alone removes unfinished files of dead ones."""
        mine = self._lock(f"{_PRESENCE}{os.getpid()}-{secrets.token_hex(4)}")
        with mine:
            own = Path(mine.lock_file)
            if all(map(clear_dead, {*own.parent.glob(f"{_PRESENCE}*.lock")} - {own})):
                self._sweep(older_than_ns=own.stat().st_mtime_ns)
            try:
                yield
            finally:
                own.unlink(missing_ok=True)

    def _sweep(self, older_than_ns: int) -> None:
        """Another process may start at any moment, but cannot write files older than our own presence."""
        for part in self.folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if _PART.fullmatch(part.name) and part.stat().st_mtime_ns < older_than_ns:
                    part.unlink()

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / HIDDEN / f"{name}.lock", thread_local=False)


Store = FolderStore | RemoteStore
"""A place to keep files in. All names are plain file names."""


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_ctime_ns)
