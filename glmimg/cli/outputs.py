"""Where results go: names from a pattern, and all checks that are possible before weights load."""

from __future__ import annotations

import os
import re
import string
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glmimg.choice import Output
from glmimg.errors import OutputError, UsageError
from glmimg.job import Job
from glmimg.metadata import format_of
from glmimg.text import slug

FIELDS = ("seed", "index", "prompt")
_FORM = re.compile(r"[<>^]?0?[0-9]{0,2}d?(\.[0-9]{1,2})?")
"""Allowed format specifications of a field: `{index:03}`, `{prompt:.40}`."""


ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class NameFields:
    """What a name pattern may refer to. index counts from 1."""

    prompt: str
    seed: int
    index: int

    @classmethod
    def of(cls, jobs: Sequence[Job], first_index: int = 1) -> list[NameFields]:
        return [cls(job.scene.prompt, job.sampling.seed, index) for index, job in enumerate(jobs, start=first_index)]


def check_standard_output(output: Output, pictures: int) -> None:
    """Check that standard output takes the result: one picture, to a pipe or a file. Raises UsageError (exit 2)."""
    if output.as_json or pictures > 1:
        raise UsageError("--out - takes a single picture, without --json", "Write to files instead.")
    if sys.stdout.isatty():
        raise UsageError("--out - would write picture bytes to the terminal", "Redirect it: ... -o - > out.png")


def name_outputs(pattern: str | None, names: Sequence[NameFields], suffix: str) -> list[Path]:
    """One path for each result.

    pattern: with {seed}, {index}, {prompt}; in a directory (existing, or ending in /) a name is made up;
             None is `{prompt}-{seed}` in the current directory. Several results with the same name get -1, -2, ...
    raises:  OutputError (exit 2) for unknown fields and for an empty name
    """
    if pattern is not None and ADDRESS.match(pattern):
        raise OutputError(f"--out {pattern} is a URI, and only glmimg batch writes to those", "Give a path.")
    own_name = "{prompt}-{seed}" + suffix
    if len({(each.prompt, each.seed) for each in names}) < len(names):
        own_name = "{prompt}-{seed}-{index}" + suffix
    if pattern is None:
        pattern = own_name
    elif _is_folder(pattern):
        pattern = pattern.rstrip("/") + "/" + own_name
    pattern = numbered(pattern) or own_name if len(names) > 1 else pattern
    _parse(pattern)
    paths = [Path(_fill(pattern, each)) for each in names]
    for path in paths:
        check_ending(path, suffix)
    repeated = [path for path, count in Counter(paths).items() if count > 1]
    if repeated:
        raise OutputError(f"--out {pattern} gives {repeated[0]} more than once", "Add {index} or {seed} to the name.")
    return paths


def sheet_path(out: str | None, prompt: str, ending: str) -> Path:
    """Where the contact sheet of several pictures goes: beside them."""
    if out is not None and "{" not in out and not _is_folder(out):
        return Path(out).with_name(f"{Path(out).stem}-{ending}.png")
    folder = Path(out or ".")
    folder = folder if out is None or _is_folder(out) else folder.parent
    return folder / f"{slug(prompt)}-{ending}.png"


def names_tell_prompt(output: Output) -> bool:
    """Whether the names of results contain the prompt."""
    patterns = [pattern for pattern in (output.out, output.tokens_out) if pattern]
    return output.out is None or any("{prompt" in each or _is_folder(each) for each in patterns)


def check_ending(path: Path, suffix: str) -> None:
    """Refuse names whose extension does not match the file's format. Raises OutputError (exit 2).

    suffix: the default extension of such a file
    """
    if suffix.endswith(".png"):
        format_of(path)
    elif path.suffix not in ("", ".json"):
        raise OutputError(f"{path}: a token dump is JSON", f"For example {path.stem}{suffix}.")


def numbered(pattern: str | None) -> str | None:
    """The pattern with -{index} before its extension, unless it is a folder or already has a field."""
    if pattern is None or _is_folder(pattern) or any(part[1] for part in _parse(pattern)):
        return pattern
    path = Path(pattern)
    stem, ending = split_suffix(path)
    return str(path.with_name(f"{stem}-{{index}}{ending}"))


def numbered_output(output: Output) -> Output:
    """The same output with `{index}` added to every name that has no field."""
    return output.model_copy(update={"out": numbered(output.out), "tokens_out": numbered(output.tokens_out)})


def dump_path_beside(picture: Path) -> Path:
    """out.png -> out.tokens.json"""
    return picture.with_name(split_suffix(picture)[0] + ".tokens.json")


def is_device(path: Path | None) -> bool:
    """Whether a path is something like /dev/null, beside which no file belongs."""
    return path is not None and os.path.exists(path) and not path.is_file()  # noqa: PTH110 (never raises)


def split_suffix(path: Path) -> tuple[str, str]:
    """Name and extension, with `.tokens.json` as one extension."""
    if path.name.endswith(".tokens.json"):
        return path.name.removesuffix(".tokens.json"), ".tokens.json"
    return path.stem, path.suffix


def check_outputs(paths: Sequence[Path], *, force: bool, others: Sequence[Path] = (), make: bool = True) -> None:
    """Refuse outputs that cannot or must not be written, before anything loads, and create their folders.

    others: other outputs of the command, checked elsewhere; no two outputs may be the same file
    make:   whether to create the folders
    raises: OutputError (exit 2): the folder is not writable, the path is a folder, or it exists and `force` is off
    """
    try:
        for real, count in Counter(path.resolve() for path in [*paths, *others] if not is_device(path)).items():
            if count > 1:
                raise OutputError(f"{real} would be written {count} times", "Give each output a different name.")
        for path in paths:
            _check_output(path, force)
        for folder in {path.parent for path in paths if make}:
            folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # resolving a loop of symbolic links raises either
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{paths[0]} cannot be used: {reason}", "Choose another name.") from error


def check_results(paths: Sequence[Path], output: Output, others: Sequence[Path] = ()) -> None:
    """`check_outputs` for the results of a command; creates no folders in a dry run."""
    check_outputs(paths, force=output.force, others=others, make=not output.dry_run)


def _check_output(path: Path, force: bool) -> None:
    folder = next(each for each in path.parents if os.path.lexists(each))
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "Give the name of a file.")
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder", "Choose another place.")
    if path.exists() and not path.is_file():
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} is not writable", "Choose another place.")
    if os.path.lexists(path) and not force:
        raise OutputError(f"{path} exists already", "Overwrite it with --force, or choose another name.")


def _is_folder(pattern: str) -> bool:
    if not pattern:
        raise OutputError("the name of an output is empty", "For example --out picture.png.")
    return pattern.endswith("/") or os.path.isdir(pattern)  # noqa: PTH112 (never raises, however long the name)


def _parse(pattern: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise OutputError(f"--out {pattern}: {error}", "Write {{ and }} for braces.") from error
    for _text, field, form, conversion in parts:
        if field is not None and field not in FIELDS:
            raise OutputError(f"--out {pattern}: unknown field {{{field}}}", "There are {seed}, {index} and {prompt}.")
        if conversion or not _FORM.fullmatch(form or ""):
            raise OutputError(f"--out {pattern}: {{{field}:{form}}} is not a plain field", "For example {index:03}.")
    return parts


def _fill(pattern: str, fields: NameFields) -> str:
    try:
        return pattern.format(seed=fields.seed, index=fields.index, prompt=slug(fields.prompt))
    except ValueError as error:
        raise OutputError(f"--out {pattern}: {error}", "For example {index:03}.") from error
