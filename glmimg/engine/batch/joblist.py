"""Lists of jobs, every line checked before any weights load.

A line says as much of a job as it likes; presets and the checkpoint complete it. What is wrong is
gathered for all lines, so that a list is mended in one go.
"""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from glmimg.engine.batch.lines import BadLine, JobLine, problem_text, read_lines
from glmimg.engine.complete import complete
from glmimg.engine.naming import slug
from glmimg.errors import BadInput, BadJobs, GlmimgError
from glmimg.files import open_regular
from glmimg.job import Job, Size, SourceRef, check_prompt
from glmimg.preset import PresetStack, load_stack
from glmimg.request import Layer, precedence
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.sources import SourceShelf

STANDARD_INPUT = "-"

FIRST_ORDER = (
    *("prompt", "size", "seed", "dit_seed", "steps", "guidance", "temperature", "top_p", "ar_method", "ar_window"),
    *("guidance_window", "scheduler", "cache", "guidance_batch"),
)
"""The first edition's knobs, in the order it wrote them; later ones follow by name, where they are given."""

FIRST_DEFAULTS = {"steps": 50, "guidance": 1.5}
"""What its preset `default` said, which stood in every line."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A complete job and the name its files have. line: where it stands in the list, from 1."""

    name: str
    line: int
    job: Job

    @property
    def picture(self) -> str:
        return f"{self.name}.png"

    @property
    def dump(self) -> str:
        return f"{self.name}.tokens.json"


@dataclass
class JobList:
    """What a list holds. `bad` is empty, or its lines were skipped on purpose."""

    source: str
    jobs: list[BatchJob] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)

    def check(self) -> None:
        """Raise BadJobs (exit 3) naming every bad line, or for a list without jobs."""
        if self.bad:
            raise BadJobs(self.source, [(bad.line, bad.reason) for bad in self.bad])
        if not self.jobs:
            raise BadJobs(self.source, [])


@dataclass(frozen=True)
class Defaults:
    """What the command line says for all jobs of a list.

    flags, environment: win over the line
    presets, config:    lose to it
    count:   pictures a line, seeds seed, seed + 1, ...
    """

    flags: Layer = field(default_factory=dict)
    environment: Layer = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    config: Layer = field(default_factory=dict)
    count: int = 1


def read_jobs(stream: IO[bytes], source: str, checkpoint: Checkpoint, defaults: Defaults = Defaults()) -> JobList:
    """Every job of a list, and every line that holds none.

    source: what messages call the list; its ending says the form, else the first line does
    raises: BadPreset (exit 3) for a preset of the command line
    """
    found = JobList(source)
    taken: dict[str, int] = {}
    reader = _Reader(checkpoint, defaults)
    load_stack(defaults.presets)
    for number, line in read_lines(stream, source):
        if isinstance(line, BadLine):
            found.bad.append(line)
            continue
        try:
            jobs = reader.jobs(number, line)
            for job in jobs:
                _claim_name(job, taken)
        except (GlmimgError, ValueError) as error:
            found.bad.append(BadLine(number, problem_text(error)))
        else:
            found.jobs += jobs
    return found


def open_jobs(source: str, checkpoint: Checkpoint, defaults: Defaults) -> JobList:
    """`read_jobs` from a path, an fsspec URI, or `-` for standard input. Raises BadInput (exit 3) if unreadable."""
    if source == STANDARD_INPUT:
        return read_jobs(sys.stdin.buffer, "standard input", checkpoint, defaults)
    try:
        if "://" in source:
            import fsspec

            with fsspec.open(source, "rb") as stream:
                return read_jobs(stream, source, checkpoint, defaults)
        with open_regular(Path(source), BadInput, "list of jobs") as stream:
            return read_jobs(stream, source, checkpoint, defaults)
    except (OSError, ImportError) as error:
        raise BadInput(source, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


class _Reader:
    """Makes jobs of lines; remembers presets it loaded and lines it has seen."""

    def __init__(self, checkpoint: Checkpoint, defaults: Defaults) -> None:
        self.checkpoint = checkpoint
        self.defaults = defaults
        self.seen: dict[bytes, int] = {}
        self.shelf = SourceShelf()
        self.stack = cache(lambda names: load_stack([*defaults.presets, *names]))

    def jobs(self, number: int, line: JobLine) -> list[BatchJob]:
        stack: PresetStack = self.stack(line.presets)
        defaults = self.defaults
        layers = {"line": line.given, "preset": stack.values, "config": defaults.config}
        given = precedence(flags=defaults.flags, environment=defaults.environment, **layers)
        if given.get("prompt") is None:
            raise ValueError("there is no prompt")
        given["prompt"] = stack.fill(check_prompt(given["prompt"]))
        sources = [self.shelf.take(Path(path), self.checkpoint.source_bounds).ref for path in line.sources]
        digest = self._digest(line.name, given, sources)
        name = line.name or f"{slug(line.given.get('prompt') or given['prompt'])}-{digest.hex()[:8]}"
        given.setdefault("seed", int.from_bytes(digest[-4:], "big") >> 1)
        first = complete(given, self.checkpoint, sources)
        if defaults.count == 1:
            return [BatchJob(name, number, first)]
        seeds = range(first.sampling.seed, first.sampling.seed + defaults.count)
        jobs = [first.again(seed=seed, dit_seed=given.get("dit_seed")) for seed in seeds]
        return [BatchJob(f"{name}-{count}", number, job) for count, job in enumerate(jobs, start=1)]

    def _digest(self, name: str | None, given: Layer, sources: list[SourceRef]) -> bytes:
        """Of what the line says, and of how often it was given before: names and seeds do not move with the lines."""
        pictures = "".join(source.sha256 for source in sources)
        digest = hashlib.sha256(f"{name or ''}\0{line_text(given)}{pictures}".encode()).digest()
        if name is not None:
            return digest
        self.seen[digest] = repeat = self.seen.get(digest, 0) + 1
        return digest if repeat == 1 else hashlib.sha256(digest + repeat.to_bytes(8, "big")).digest()


def _claim_name(job: BatchJob, taken: dict[str, int]) -> None:
    """Two jobs may not write one file, not even where a file system ignores case. Raises ValueError."""
    folded = unicodedata.normalize("NFC", job.name).casefold()
    if (other := taken.setdefault(folded, job.line)) != job.line:
        raise ValueError(f"the name {job.name!r} is taken by line {other}")


def line_text(given: Layer) -> str:
    """What a line says, as text to hash: as the first edition wrote it, so that names, seeds and folders stay."""
    plain = FIRST_DEFAULTS | {key: _written(value) for key, value in given.items()}
    order = [*FIRST_ORDER, *sorted(set(plain) - {*FIRST_ORDER})]
    return json.dumps({key: plain[key] for key in order if key in plain}, ensure_ascii=False, separators=(",", ":"))


def _written(value: Any) -> Any:
    if isinstance(value, Size):
        return str(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
