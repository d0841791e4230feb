"""Job lists, of which every line is checked before any weights load.

A line gives any settings of a job; presets and the checkpoint complete it. Faults are
collected over all lines, so that a list can be fixed in one go.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from filecmp import cmp
from functools import cache
from pathlib import Path
from typing import IO

from glmimg.choice import Ideas
from glmimg.engine.batch.lines import BadLine, JobLine, problem_text, read_lines
from glmimg.engine.complete import complete
from glmimg.enhance import Rewriter
from glmimg.errors import BadInput, BadJobs, GlmimgError
from glmimg.files import local_path, open_regular
from glmimg.ideas import find_ideas
from glmimg.job import Job, SourceRef
from glmimg.preset import PresetStack, load_stack
from glmimg.prompts import check_prompt
from glmimg.request import Layer, precedence
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.settings_file import plain as plain_value
from glmimg.sources import SourceShelf
from glmimg.sources.web import source_file
from glmimg.text import slug

STANDARD_INPUT = "-"

PATHS = ("drop", "mask")
"""Knobs that may name a file."""

CONFLICTING = {"cache", "guidance_batch", "negative", "guidance"}
"""Knobs that conflict with others; if a line sets none of them, the conflict is in the command line."""

NAME_DIGITS = (8, 16, 64)
"""Digits of a line's hash in its generated name: eight, unless that name is taken already."""

FIRST_ORDER = (
    *("prompt", "size", "seed", "dit_seed", "steps", "guidance", "temperature", "top_p", "ar_method", "ar_window"),
    *("guidance_window", "scheduler", "cache", "guidance_batch"),
)
"""The first edition's knobs, in the order it wrote them; later ones follow by name, where they are given."""

FIRST_DEFAULTS = {"steps": 50, "guidance": 1.5}
"""Values of its preset `default`, which every line contained."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A complete job and the name of its files.

    line:   where it stands in the list, from 1
    ending: its picture's extension, which gives the format
    """

    name: str
    line: int
    job: Job
    ending: str = "png"

    @property
    def picture(self) -> str:
        return f"{self.name}.{self.ending}"

    @property
    def dump(self) -> str:
        return f"{self.name}.tokens.json"


@dataclass
class JobList:
    """The contents of a list. `bad` is empty, or its lines are to be skipped; `notes` say how sources were changed."""

    source: str
    jobs: list[BatchJob] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise BadJobs (exit 3) naming every bad line, or if the list has no jobs."""
        if self.bad:
            raise BadJobs(self.source, [(bad.line, bad.reason) for bad in self.bad])
        if not self.jobs:
            raise BadJobs(self.source, [])


@dataclass(frozen=True)
class Defaults:
    """The command line's settings for all jobs of a list.

    flags, environment: win over the line
    presets, config:    lose to it
    count:   pictures a line, seeds seed, seed + 1, ...; or seeds, a list of them
    ending:  of the pictures
    ideas:   what each line stands for
    fetch:   whether sources are fetched from https addresses
    keep:    whether rewritten prompts are kept on this machine
    """

    flags: Layer = field(default_factory=dict)
    environment: Layer = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    config: Layer = field(default_factory=dict)
    count: int = 1
    ending: str = "png"
    seeds: tuple[int, ...] = ()
    ideas: Ideas = field(default_factory=Ideas)
    fetch: bool = True
    keep: bool = True

    @property
    def pictures(self) -> int:
        """Of each thing a line stands for."""
        return len(self.seeds) or self.count


def read_jobs(stream: IO[bytes], source: str, checkpoint: Checkpoint, defaults: Defaults = Defaults()) -> JobList:
    """Every job of a list, and every bad line.

    source: the list's name for messages; its extension gives the format, else the first line does
    raises: BadPreset (exit 3) for a preset of the command line
    """
    found = JobList(source)
    reader = _Reader(checkpoint, defaults, Path() if "://" in source else Path(source).parent)
    load_stack(defaults.presets)
    for number, line in read_lines(stream, source):
        if isinstance(line, BadLine):
            found.bad.append(line)
            continue
        try:
            found.jobs += reader.jobs(number, line)
        except (GlmimgError, ValueError) as error:
            found.bad.append(BadLine(number, problem_text(error)))
    found.notes += reader.notes
    return found


def open_jobs(source: str, checkpoint: Checkpoint, defaults: Defaults) -> JobList:
    """`read_jobs` from a path, an fsspec URI, or `-` for standard input. Raises BadInput (exit 3) if unreadable."""
    if source == STANDARD_INPUT:
        return read_jobs(sys.stdin.buffer, "standard input", checkpoint, defaults)
    try:
        with _opened(source) as stream:
            return read_jobs(stream, source, checkpoint, defaults)
    except OSError as error:
        raise BadInput(source, f"cannot be read: {error.strerror or error}") from error


def _opened(source: str) -> AbstractContextManager[IO[bytes]]:
    """Raises BadInput (exit 3): no such protocol, its package missing, no such file, no regular one."""
    path = Path(source) if "://" not in source else local_path(source) if source.startswith("file://") else None
    if path is not None:
        return open_regular(path, BadInput, "list of jobs")
    import fsspec

    try:
        return fsspec.open(source, "rb").open()  # type: ignore[no-any-return]
    except Exception as error:  # every protocol raises its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInput(source, f"cannot be read: {reason}") from error


class _Reader:
    """Turns lines into jobs; remembers loaded presets, lines it has seen and names that are taken.

    folder: the list's folder, to which its paths are relative
    """

    def __init__(self, checkpoint: Checkpoint, defaults: Defaults, folder: Path) -> None:
        self.checkpoint = checkpoint
        self.defaults = defaults
        self.folder = folder
        self.seen: dict[bytes, int] = {}
        self.taken: dict[str, int] = {}
        self.notes: dict[str, None] = {}
        self.shelf = SourceShelf()
        self.stack = cache(lambda names: load_stack([*defaults.presets, *names]))

    def jobs(self, number: int, line: JobLine) -> list[BatchJob]:
        """The jobs of one line. Raises GlmimgError or ValueError for a bad line."""
        stack: PresetStack = self.stack(tuple(map(self._path, line.presets)))
        defaults = self.defaults
        said = line.given | {key: self._path(text) for key in PATHS if isinstance(text := line.given.get(key), str)}
        layers = {"line": said, "preset": stack.values, "config": defaults.config}
        given = precedence(flags=defaults.flags, environment=defaults.environment, **layers)
        if given.get("prompt") is None:
            raise ValueError("no prompt given")
        asked = defaults.ideas
        more = {"sweep": (*line.sweep, *asked.sweep), "literal": line.literal or asked.literal}
        asked = asked.model_copy(update={**more, "enhance": line.enhance or asked.enhance})
        rewrite = Rewriter.of(asked, edit=bool(line.sources), keep=defaults.keep) if asked.enhance else str
        ideas = find_ideas([check_prompt(given["prompt"])], asked, defaults.pictures, rewrite)
        paths = [source_file(self._path(path), may_fetch=defaults.fetch) for path in line.sources]
        prepared = [self.shelf.take(path, self.checkpoint.source_bounds) for path in paths]
        self.notes |= {f"{each.ref.path}: {note}": None for each in prepared for note in each.notes}
        sources = [each.ref for each in prepared]
        jobs, names, seeded = list[Job](), list[str](), dict[str, bytes]()
        for idea in ideas:
            self.notes |= {f"line {number}: enhanced: {idea.prompt}": None} if asked.enhance else {}
            filled = {**given, **idea.fill(stack)}
            spoken = {**filled, "prompt": stack.fill(idea.said)} | ({"enhance": True} if asked.enhance else {})
            digest = self._digest(line.name, {name: spoken[name] for name in spoken if name != "forms"}, sources)
            source_of_seed = seeded.setdefault(idea.said, digest) if idea.values else digest  # one seed for a sweep
            filled.setdefault("seed", int.from_bytes(source_of_seed[-4:], "big") >> 1)
            first = complete(filled, self.checkpoint, sources)
            conflict = first.painting.conflict()
            if conflict and (said.keys() | idea.values.keys()) & CONFLICTING:
                raise conflict
            seeds = defaults.seeds or range(first.sampling.seed, first.sampling.seed + defaults.count)
            jobs += [first.again(seed=seed, dit_seed=filled.get("dit_seed")) for seed in seeds]
            if line.name is None:
                words = slug(idea.said)
                made = [f"{words}-{digest.hex()[:digits]}" for digits in NAME_DIGITS]
                names += self._claim(made, number, defaults.pictures)
        names = names or self._claim([str(line.name)], number, len(jobs))
        return [BatchJob(name, number, job, defaults.ending) for name, job in zip(names, jobs, strict=True)]

    def _path(self, named: str) -> str:
        """A path in the list, relative to its folder, or to the current one if only that has the file or both agree."""
        beside = self.folder / named
        if not os.path.isfile(beside) or (os.path.isfile(named) and cmp(named, beside, shallow=False)):  # noqa: PTH113
            return named
        return str(beside)

    def _claim(self, names: Sequence[str], number: int, count: int) -> list[str]:
        """The first free name of several, or the names made from it if a line has several pictures.

        Two jobs may not write one file, not even where a file system ignores case. Raises ValueError if none is free.
        """
        for name in names:
            wanted = [name] if count == 1 else [f"{name}-{index}" for index in range(1, count + 1)]
            folded = [unicodedata.normalize("NFC", each).casefold() for each in wanted]
            other = next((self.taken[each] for each in folded if each in self.taken), None)
            if other is None:
                self.taken |= dict.fromkeys(folded, number)
                return wanted
        raise ValueError(f"the name {names[-1]!r} is already used by line {other}")

    def _digest(self, name: str | None, given: Layer, sources: list[SourceRef]) -> bytes:
        """Of what the line says, and of how often it was given before: names and seeds do not move with the lines."""
        pictures = "".join(source.sha256 for source in sources)
        digest = hashlib.sha256(f"{name or ''}\0{line_text(given)}{pictures}".encode()).digest()
        if name is not None:
            return digest
        self.seen[digest] = repeat = self.seen.get(digest, 0) + 1
        return digest if repeat == 1 else hashlib.sha256(digest + repeat.to_bytes(8, "big")).digest()


def line_text(given: Layer) -> str:
    """What a line says, as text to hash: as the first edition wrote it, so that names, seeds and folders stay."""
    plain = FIRST_DEFAULTS | {key: plain_value(value) for key, value in given.items()}
    order = [*FIRST_ORDER, *sorted(set(plain) - {*FIRST_ORDER})]
    return json.dumps({key: plain[key] for key in order if key in plain}, ensure_ascii=False, separators=(",", ":"))
