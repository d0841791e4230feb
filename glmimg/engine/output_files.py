"""The files one run writes: their names are its own before it begins, and nothing is overwritten that others made.

A name is taken by a hidden link beside it, to a file that this process holds locked. A dead process holds nothing, and
a run of a thousand pictures keeps one file open a folder.
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
    """What a run writes, taken before it begins and let go at the end of the context.

    force: files that stand there are replaced, and no name is taken
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
        """Have these names for this run alone. Raises OutputError (exit 2): one is there by now, or another run's."""
        for path in paths:
            if self.force or path is None or path in self._mine or (path.exists() and not path.is_file()):
                continue
            if not self._claim(path):
                raise OutputError(f"{path} is being drawn by another glmimg", "Choose another name.")
            if os.path.lexists(path):
                raise OutputError(f"{path} exists already", "Overwrite it with --force, or choose another name.")
            self._mine.add(path)

    def write(self, path: Path, data: bytes, seed: int | None = None) -> None:
        """A file, whole or not at all.

        seed:   what it is of, if one picture
        raises: WriteError (exit 1); NameTaken (exit 1) if a file came there meanwhile, the data lie beside it then
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
        """Whether the name is ours now. Where hard links or locks are not to be had, it is: the end is exclusive."""
        claim = _claim_of(path)
        try:
            locked = self._lock_in(path.parent)
            while True:
                try:
                    claim.hardlink_to(locked)
                except FileExistsError:
                    if not _clear_dead(claim):
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


def _clear_dead(claim: Path) -> bool:
    """Remove a claim nobody holds any more; False if somebody does."""
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
