"""What a batch asks of the place it keeps its files in: a folder (`folder`) or an object store (`remote`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from glmimg.engine.batch.joblist import BatchJob

RESULTS = "results.jsonl"


class Stamp(NamedTuple):
    """What tells a file from another without reading it.

    size:    in bytes
    changed: when its content or its name last did, in nanoseconds; 0 where the place does not say
    """

    size: int
    changed: int = 0


class Store(Protocol):
    """What the engine asks of a place to keep files in. All names are plain file names."""

    @property
    def root(self) -> str:
        """What `open_store` opens it by."""

    def stamps(self) -> dict[str, Stamp]:
        """Of every file there."""

    def exists(self, name: str) -> bool:
        """Whether a file is there, whole."""

    def stamp(self, name: str) -> Stamp:
        """Of one file. Raises OSError."""

    def read(self, name: str) -> bytes:
        """A whole file. Raises OSError."""

    def write(self, name: str, data: bytes, *, replace: bool = False) -> None:
        """A file, whole or not at all. Raises WriteError (exit 1); NameTaken without `replace` where one is there."""

    def hashes(self, job: BatchJob) -> dict[str, str]:
        """SHA-256 of a job's `picture` and `tokens`; empty where telling it would mean fetching them."""

    def local(self, name: str) -> Path | None:
        """The file's path, where it has one: only there unfinished work is left."""

    def place(self, name: str) -> str:
        """What a person calls the file: a path or a URI."""

    def read_results(self) -> Iterator[bytes]:
        """Result lines that were not read before, oldest first, each whole."""

    def add_result(self, line: bytes) -> None:
        """Append a result line, on disk when this returns. Raises WriteError (exit 1)."""

    def claim(self, name: str) -> AbstractContextManager[bool]:
        """Hold a job for this process as long as the context lasts; False if somebody else holds it."""

    def deaths(self) -> dict[str, int]:
        """How often a process died while it held a job, by job."""

    def forgive(self, name: str) -> None:
        """Forget that processes died while they held this job."""

    def present(self) -> AbstractContextManager[None]:
        """Be at work here as long as the context lasts."""
