"""The history: one line of JSON per command that drew something, in a file beside the config file."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from glmimg.errors import BadInput, UsageError
from glmimg.home import beside
from glmimg.text import counted, shell_words

NAME = "history.jsonl"


class Entry(BaseModel):
    """What one command drew.

    command, folder: the command line and its working directory; empty if private
    files:           each file it wrote, with its seed; a contact sheet has none
    """

    model_config = ConfigDict(frozen=True)

    time: datetime
    command: str = ""
    folder: str = ""
    files: dict[str, int | None]
    seconds: float

    @property
    def pictures(self) -> list[str]:
        """Those of its files that can be reproduced."""
        return [name for name, seed in self.files.items() if seed is not None and not name.endswith(".json")]


def remember(files: Mapping[Path, int | None], seconds: float, *, private: bool = False) -> None:
    """Record what the current command drew. Raises OSError.

    files:   the files it wrote, with seeds
    private: without the command line, which holds the prompt
    """
    said = {} if private else {"command": shell_words("glmimg", *sys.argv[1:]), "folder": str(Path.cwd())}
    found = {str(path.absolute()): seed for path, seed in files.items()}
    entry = Entry(time=datetime.now().astimezone(), files=found, seconds=round(seconds, 1), **said)
    path = beside(NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({**entry.model_dump(), "time": entry.time.isoformat()}) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())  # in one write, so that two commands do not mix their lines
    finally:
        os.close(handle)


def read_history() -> Iterator[tuple[int, Entry]]:
    """Every entry with its number, from 1, oldest first; invalid lines are skipped."""
    path = beside(NAME)
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                # Not pydantic's own JSON, which has no lone surrogates, as in a file name that is not UTF-8.
                yield number, Entry.model_validate(json.loads(line))
            except (ValueError, RecursionError):
                continue


def find_picture(name: str) -> Path:
    """The picture that `@3`, or of several `@3.2`, names. Raises UsageError (exit 2), BadInput (exit 3)."""
    found = re.fullmatch(r"@([0-9]{1,9})(?:\.([0-9]{1,9}))?", name)
    if found is None:
        raise UsageError(f"{name} is not an entry of the history", "For example @3; see: glmimg history")
    number, which = found.groups()
    entry = next((entry for each, entry in read_history() if each == int(number)), None)
    if entry is None:
        raise UsageError(f"the history has no entry {number}", "See: glmimg history")
    pictures = entry.pictures
    if not pictures:
        raise UsageError(f"entry {number} has no known picture", f"Its command: {entry.command or 'not recorded'}")
    if not 1 <= int(which or 1) <= len(pictures) or (which is None and len(pictures) > 1):
        named = f"one of @{number}.1 to @{number}.{len(pictures)}" if len(pictures) > 1 else f"@{number}"
        raise UsageError(f"entry {number} has {counted(len(pictures), 'picture')}", f"Choose {named}.")
    path = Path(pictures[int(which or 1) - 1])
    if not path.exists():
        raise BadInput(path, "is gone", f"It was drawn by: {entry.command}")
    return path
