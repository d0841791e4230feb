"""Prompts from the command line, from files and from standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from glmimg.errors import BadPrompts
from glmimg.job import check_prompt

STANDARD_INPUT = "-"
MAX_BYTES = 64 * 1024 * 1024


def read_prompts(arguments: Sequence[str], file: str | None) -> list[str]:
    """All prompts: the arguments, with `-` replaced by the lines of standard input, then those of a file.

    raises: UsageError (exit 2) for an empty argument; BadPrompts (exit 3) for input that holds none
    """
    prompts: list[str] = []
    for argument in arguments:
        prompts += _lines(STANDARD_INPUT) if argument == STANDARD_INPUT else [check_prompt(argument)]
    if file is not None:
        prompts += _lines(file)
    return prompts


def _lines(file: str) -> list[str]:
    """The non-empty lines of a text file or of standard input. Raises BadPrompts (exit 3)."""
    name = "standard input" if file == STANDARD_INPUT else file
    try:
        if file == STANDARD_INPUT:
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPrompts(name, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise BadPrompts(name, "holds more than 64 MiB of prompts")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadPrompts(name, f"line {line} is not UTF-8 text") from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise BadPrompts(name, "holds no prompts", "Write one prompt a line.")
    return prompts
