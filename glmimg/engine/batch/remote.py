"""A batch's files in an object store (or anything else fsspec reaches): s3://, gs://, memory://.

Objects are written whole or not at all, so files need no temporary name. There is no appending: a run
keeps its results in objects of up to 100 lines under results/, and writes the merged results.jsonl
when it ends. There are no locks: two runs at once in one place may draw a job twice, and write the
same bytes twice.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from glmimg.engine.batch.joblist import BatchJob
from glmimg.errors import DeviceLost, NameTaken, OutputError, WriteError

RESULTS, PARTS = "results.jsonl", "results"
TRIED = ".tried"
"""Folder of one object for each job that is worked on, by name and try; what a dead process leaves there counts."""

LINES_A_PART = 100


class Stamp(NamedTuple):
    """What identifies a file's version without reading it.

    size:    in bytes
    changed: when its content or its name last did, in nanoseconds; 0 where the place does not say
    """

    size: int
    changed: int = 0


class RemoteStore:
    """A folder of an fsspec file system, as `FolderStore`. uri: as a person writes it; files: within that system."""

    def __init__(self, uri: str, files: Any) -> None:
        self.uri = uri.rstrip("/")
        self.files = files
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        self._lines: list[bytes] = []
        self._part = 0
        self._seen: set[int] = set()

    @classmethod
    def open(cls, uri: str, *, make: bool = True) -> RemoteStore:
        """The place at `uri`. Raises OutputError (exit 2): no such protocol, its package missing, no access."""
        from fsspec.core import url_to_fs
        from fsspec.implementations.dirfs import DirFileSystem

        try:
            files, path = url_to_fs(uri)
            if make:
                files.makedirs(path, exist_ok=True)
            if files.isfile(path):
                raise OutputError(f"{uri} is not a folder", "Give a folder for the batch with --out.")
        except ImportError as error:
            raise OutputError(f"{uri}: {error}", "Install the package it names.") from error
        except OutputError:
            raise
        except Exception as error:  # every protocol raises its own
            raise OutputError(f"{uri} cannot be used: {error}", "Check the address and your credentials.") from error
        return cls(uri, DirFileSystem(path.rstrip("/"), files))

    @property
    def root(self) -> str:
        return self.uri

    def stamps(self) -> dict[str, Stamp]:
        entries = self.files.ls("", detail=True) if self.files.exists("") else []
        return {entry["name"]: Stamp(int(entry["size"])) for entry in entries if entry["type"] == "file"}

    def exists(self, name: str) -> bool:
        return bool(self.files.isfile(name))

    def stamp(self, name: str) -> Stamp:
        return Stamp(int(self.files.size(name)))

    def read(self, name: str) -> bytes:
        return bytes(self.files.cat_file(name))

    def write(self, name: str, data: bytes, *, replace: bool = False) -> None:
        try:
            self.files.pipe_file(name, data, mode="overwrite" if replace else "create")
        except FileExistsError as error:
            raise NameTaken(self.place(name)) from error
        except Exception as error:  # every protocol raises its own
            raise WriteError(self.place(name), str(error)) from error

    def hashes(self, job: BatchJob) -> dict[str, str]:
        return {}

    def local(self, name: str) -> None:
        return None

    def place(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def read_results(self) -> Iterator[bytes]:
        own = self._own_parts()
        for path in [*([RESULTS] if self.exists(RESULTS) else []), *self._find(PARTS)]:
            if path not in own:
                yield from self._new_lines(self.read(path))

    def add_result(self, line: bytes) -> None:
        if len(self._lines) >= LINES_A_PART:
            self._lines, self._part = [], self._part + 1
        self._lines.append(line)
        self._seen.add(hash(line))
        part = f"{PARTS}/{self._run}-{self._part:06}.jsonl"
        self.write(part, b"\n".join(self._lines) + b"\n", replace=True)

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        mark, dead = f"{TRIED}/{name}/{secrets.token_hex(4)}", False
        self.write(mark, b".")
        try:
            yield True
        except DeviceLost:
            dead = True
            raise
        finally:
            if not dead:
                self._remove(mark)

    def deaths(self) -> dict[str, int]:
        return dict(Counter(path.split("/")[1] for path in self._find(TRIED)))

    def forgive(self, name: str) -> None:
        for path in self._find(f"{TRIED}/{name}"):
            self._remove(path)

    @contextmanager
    def present(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self.files.exists(PARTS):
                self._merge()

    def _merge(self) -> None:
        self._seen = set()
        lines = list(self.read_results())
        for path in self._own_parts():
            lines += self._new_lines(self.read(path))
        self.write(RESULTS, b"".join(lines), replace=True)

    def _new_lines(self, data: bytes) -> Iterator[bytes]:
        for line in data.splitlines():
            if line.strip() and hash(line) not in self._seen:
                self._seen.add(hash(line))
                yield line + b"\n"

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.files.rm_file(path)

    def _find(self, folder: str) -> list[str]:
        """What there is in a folder: of results, by the time their run began."""
        return sorted(self.files.find(folder)) if self.files.exists(folder) else []

    def _own_parts(self) -> list[str]:
        return [path for path in self._find(PARTS) if path.startswith(f"{PARTS}/{self._run}-")]
