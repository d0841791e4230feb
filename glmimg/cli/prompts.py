"""Prompts from the command line, from files and from standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from glmimg.cli.console import Console
from glmimg.cli.streams import DASH
from glmimg.engine.batch.lines import JSON_ENDINGS, delimiter_of, problem_of_list
from glmimg.errors import BadPrompts, UsageError
from glmimg.files import open_regular
from glmimg.prompts import check_prompt
from glmimg.text import LINE_END, is_utf16, shell_words

LISTS = (".txt", ".csv", ".jsonl", ".json", ".yaml", ".yml")
"""Extensions of files that list prompts or jobs."""

MAX_BYTES = 64 * 1024 * 1024


def read_prompts(arguments: Sequence[str], file: str | None) -> list[str]:
    """All prompts: the arguments, with `-` replaced by the lines of standard input, then those of a file.

    raises: UsageError (exit 2) for an empty argument; BadPrompts (exit 3) for input without prompts
    """
    prompts: list[str] = []
    for argument in arguments:
        prompts += _lines(DASH) if argument == DASH else [_one(argument)]
    if file is not None:
        prompts += _lines(file)
    return prompts


def note_single_words(prompts: Sequence[str], console: Console) -> None:
    """Note how to draw one picture if several prompts look like the words of one."""
    if len(prompts) > 2 and not any(map(str.isspace, "".join(prompts))) and len({*prompts}) == len(prompts):
        one = shell_words(" ".join(prompts))
        console.note(
            f"{len(prompts)} prompts of one word each; to draw them as one prompt, quote them: glmimg t2i {one}"
        )


def _one(argument: str) -> str:
    """Check a prompt argument. Raises UsageError (exit 2) if it is empty, or the name of a list."""
    if argument.lower().endswith(LISTS) and os.path.isfile(argument):  # noqa: PTH113 (never raises)
        use = "glmimg batch" if argument.lower().endswith(LISTS[1:]) else "--prompts"
        raise UsageError(
            f"{argument} is a file, not a prompt",
            f"To draw what it lists: {use} {shell_words(argument)} (-f is --force)",
        )
    return check_prompt(argument)


def _lines(file: str) -> list[str]:
    """The non-blank lines of a text file or of standard input; each is a prompt, even `# like this`.

    raises: BadPrompts (exit 3), naming the line
    """
    name = "standard input" if file == DASH else file
    try:
        if file == DASH:
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open_regular(Path(file), BadPrompts, "list of prompts") as stream:
                raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPrompts(name, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise BadPrompts(name, "holds more than 64 MiB of prompts")
    if is_utf16(raw):
        raise BadPrompts(name, "is UTF-16 text", "Save it as UTF-8.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(LINE_END.findall(raw[: error.start].decode(errors="ignore"))) + 1
        raise BadPrompts(name, f"line {line} is not UTF-8 text") from error
    lines = [(number, line.strip()) for number, line in enumerate(LINE_END.split(text), start=1) if line.strip()]
    if not lines:
        raise BadPrompts(name, "contains no prompts", "Write one prompt per line.")
    _refuse_jobs(name, *lines[0])
    return [_checked(name, number, line) for number, line in lines]


def _refuse_jobs(name: str, number: int, first: str) -> None:
    """Refuse a list of jobs and name the command that draws it. Raises BadPrompts (exit 3)."""
    ending = PurePath(name).suffix.lower()
    if reason := problem_of_list(first, ending):
        raise BadPrompts(name, f"line {number} {reason}")
    if ending in JSON_ENDINGS or delimiter_of(first, ending) or problem_of_list(first, ".txt"):
        raise BadPrompts(
            name, "is a list of jobs, not of prompts", f"Draw it: glmimg batch {shell_words(name)} -o out/"
        )


def _checked(name: str, number: int, line: str) -> str:
    try:
        return check_prompt(line)
    except UsageError as error:
        raise BadPrompts(name, f"line {number}: {error.message}", error.hint) from error
