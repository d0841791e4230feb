"""The output files of a run: their names are reserved before it starts, and files of others are never overwritten.

A name is reserved by a hidden link beside it, to a file that this process holds locked. A dead process holds no lock,
and a run of a thousand pictures keeps only one file open per folder.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from glmimg.atomic import write_atomically
from glmimg.errors import NameTaken, OutputError

ENDING = ".taken"


class OutputFiles:
    """The output files of a run, reserved before it starts and released at the end of the context.

    force: existing files are replaced, and no name is reserved
    """

    def __init__(self, *, force: bool = False) -> None:
        self.force = force
        self.written: dict[Path, int | None] = {}
        self._mine: set[Path] = set()
        self._claims: set[Path] = set()
        self._locked: dict[Path, Path] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def take(self, paths: Iterable[Path | None]) -> None:
        """Reserve these names. Raises OutputError (exit 2) if one exists by now, or belongs to another run."""
        for path in paths:
            if self.force or path is None or path in self._mine or (path.exists() and not path.is_file()):
                continue
            if not self._claim(path):
                raise OutputError(f"{path} is being written by another glmimg", "Choose another name.")
            if os.path.lexists(path):
                raise OutputError(f"{path} exists already", "Overwrite it with --force, or choose another name.")
            self._mine.add(path)

    def write(self, path: Path, data: bytes, seed: int | None = None) -> None:
        """Write a file atomically.

        seed:   what it is of, if one picture
        raises: WriteError (exit 1); NameTaken (exit 1) if a file has appeared; the data are then beside it
        """
        try:
            write_atomically(path, data, replace=self.force)
        except NameTaken as error:
            error.hint = f"What was drawn is in {_write_beside(path, data)}."
            raise
        self.written[path] = seed
        claim = _claim_of(path)
        if claim in self._claims and claim not in self._locked.values():
            claim.unlink(missing_ok=True)

    def _claim(self, path: Path) -> bool:
        """Whether the name is ours now. Without hard links or locks it always is: the final rename is exclusive."""
        claim = _claim_of(path)
        try:
            locked = self._lock_in(path.parent)
            while True:
                try:
                    claim.hardlink_to(locked)
                except FileExistsError:
                    if not clear_dead(claim):
                        return False
                else:
                    self._exit.callback(claim.unlink, missing_ok=True)
                    self._hold_by(claim)
                    return True
        except (OSError, NotImplementedError):
            return True

    def _lock_in(self, folder: Path) -> Path:
        """A file of this run in a folder, locked until the context ends."""
        if folder not in self._locked:
            path = folder / f".{secrets.token_hex(8)}{ENDING}"
            self._exit.callback(path.unlink, missing_ok=True)
            self._exit.enter_context(FileLock(path, blocking=False))
            self._locked[folder] = path
        return self._locked[folder]

    def _hold_by(self, claim: Path) -> None:
        """Let the first claim in a folder be the name of its locked file, so that a killed run leaves no other."""
        if self._locked[claim.parent] not in self._claims:
            self._locked[claim.parent].unlink()
            self._locked[claim.parent] = claim
        self._claims.add(claim)


def _claim_of(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.parent / f".{digest}{ENDING}"


def clear_dead(claim: Path) -> bool:
    """Remove a lock's file that no process holds any more; returns False if one does."""
    try:
        with FileLock(claim, blocking=False):
            claim.unlink(missing_ok=True)
    except Timeout:
        return False
    return True


def _write_beside(path: Path, data: bytes) -> Path:
    """The first free name-2, name-3, ... that these data have now."""
    stem, dot, ending = path.name.partition(".")
    for number in count(2):
        beside = path.with_name(f"{stem}-{number}{dot}{ending}")
        with suppress(NameTaken):
            write_atomically(beside, data, replace=False)
            break
    return beside
