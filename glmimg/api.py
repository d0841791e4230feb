"""The Python API: a model that stays loaded and draws, writes tokens and paints."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from glmimg.choice import Keeping, ModelChoice
from glmimg.engine.complete import complete, complete_painting
from glmimg.engine.dumps import check_fingerprint
from glmimg.engine.engine import Engine
from glmimg.engine.memory import check_extras
from glmimg.engine.stages import CheckpointStages
from glmimg.engine.worker.start import with_worker
from glmimg.errors import GlmimgError
from glmimg.events import Watch, unwatched
from glmimg.image_io import Picture
from glmimg.job import Job
from glmimg.knob import Settings, knobs
from glmimg.preset import PresetStack, load_stack
from glmimg.request import JOB, Layer, check_values, layer_of, precedence, read_environment
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from glmimg.sources.web import source_file
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_fits_model

if TYPE_CHECKING:
    from glmimg.keywords import JobKeywords, ModelKeywords, PaintingKeywords


BESIDE_KNOBS = {"--any-model": "any_model", "--help": "help(glmimg.Model)"}
"""What replaces flags that are not knobs."""


@contextmanager
def in_python() -> Iterator[None]:
    """Let errors name keywords, not flags: `guidance_window` for --guidance-window."""
    try:
        yield
    except GlmimgError as error:
        error.message, error.hint = _with_keywords(error.message), _with_keywords(error.hint)
        error.args = (error.message,)
        raise


def _with_keywords(text: str) -> str:
    """A message with keywords in place of flags, except inside a command line that it quotes."""
    said, *command = re.split(r"(?=\b(?:glmimg|pip) )", text, maxsplit=1)
    names = BESIDE_KNOBS | {each.flag: each.name for model in (*JOB, ModelChoice) for each in knobs(model)}
    flag = re.compile(r"--(?:no-)?([a-z][a-z-]+)")
    return flag.sub(lambda found: names.get(f"--{found[1]}", found[0]), said) + "".join(command)


@in_python()
def load(model: str = "", *, watch: Watch = unwatched, **choice: Unpack[ModelKeywords]) -> Model:
    """Return a model to draw with; its weights load with the first picture and stay until it is closed.

    model:  a hub id, a directory or "demo"; empty is $GLMIMG_MODEL, else zai-org/GLM-Image
    watch:  called with progress events while it draws
    choice: knobs of `ModelChoice`: device, dtype, memory, quantize, lora, compile, ...
    raises: UsageError for an invalid value, ModelError for a missing or unusable checkpoint
    """
    _refuse_unknown(choice, ModelChoice)
    given = check_values({**choice, "model": model or None}, ModelChoice)
    return Model(ModelChoice(**precedence(flags=given, environment=read_environment(ModelChoice))), watch)


class Model:
    """Both stages of one checkpoint, kept loaded if memory allows. Use it as a context manager, or close it."""

    def __init__(self, choice: ModelChoice, watch: Watch = unwatched) -> None:
        self.choice = choice
        self.checkpoint = resolve(choice.model, choice.revision)
        self.shelf = SourceShelf()
        keeping = Keeping(**read_environment(Keeping))
        stages = with_worker(CheckpointStages(self.checkpoint, choice, self.shelf), keeping)
        scope = stages.open_scope()
        self._engine = Engine(stages, scope, watch, keep_both=stages.both_fit(scope))
        self._folder: TemporaryDirectory[str] | None = None

    @overload
    def draw(self, prompt: str, **job: Unpack[JobKeywords]) -> Picture: ...
    @overload
    def draw(self, prompt: list[str], **job: Unpack[JobKeywords]) -> Iterator[Picture]: ...
    @in_python()
    def draw(self, prompt: str | list[str], **job: Unpack[JobKeywords]) -> Picture | Iterator[Picture]:
        """Draw a picture from a prompt, or yield one picture after the other from a list of prompts.

        job:    knobs of a job: size ("768x1152"), seed, steps, guidance, ...; `preset`, the name or file of one;
                `sources`, the pictures (of PIL, or files) an edit starts from
        raises: UsageError, BadPreset, BadImage, ModelError, OutOfMemory
        """
        pictures = self._drawn(self._jobs(prompt, **job))
        return next(pictures) if isinstance(prompt, str) else pictures

    @overload
    def write(self, prompt: str, **job: Unpack[JobKeywords]) -> TokenDump: ...
    @overload
    def write(self, prompt: list[str], **job: Unpack[JobKeywords]) -> list[TokenDump]: ...
    @in_python()
    def write(self, prompt: str | list[str], **job: Unpack[JobKeywords]) -> TokenDump | list[TokenDump]:
        """Run stage 1 alone: a token dump for a prompt, or for each of a list. Arguments as for `draw`."""
        dumps = list(self._engine.write([TokenWork(each) for each in self._jobs(prompt, **job)]))
        return dumps[0] if isinstance(prompt, str) else dumps

    @in_python()
    def paint(self, dump: TokenDump, *, any_model: bool = False, **painting: Unpack[PaintingKeywords]) -> Picture:
        """Run stage 2 alone: paint a token dump, as it records unless knobs say otherwise.

        raises: BadDump for a dump of other weights, unless `any_model` is true; otherwise as `draw`
        """
        check_fits_model(dump, "the dump", codebook_size=self.checkpoint.decoder_codebook_size)
        if not any_model:
            check_fingerprint(dump, "the dump", self.checkpoint)
        given, _ = _given(dict(painting), file=layer_of(*dump.job_parts))
        settings = complete_painting(given, dump.seed, dump.size, dump.sources)
        check_extras([settings])
        self.shelf.find_all(dump, Path())
        return self._engine.paint(dump, settings)

    def close(self) -> None:
        """Free the weights."""
        self._engine.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _drawn(self, jobs: Sequence[Job]) -> Iterator[Picture]:
        for job in jobs:
            with in_python():
                (dump,) = self._engine.write([TokenWork(job)])
                picture = self._engine.paint(dump, job.painting)
            yield picture

    def _jobs(self, prompt: str | list[str], sources: Any = (), **knobs: Any) -> list[Job]:
        given, stack = _given(knobs)
        pictures = [sources] if isinstance(sources, str | Path) or hasattr(sources, "convert") else list(sources)
        refs = [self.shelf.take(self._file(each), self.checkpoint.source_bounds).ref for each in pictures]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        jobs = [complete({**given, "prompt": stack.fill(each)}, self.checkpoint, refs) for each in prompts]
        check_extras(each.painting for each in jobs)
        return jobs

    def _file(self, source: Any) -> Path:
        """A source as a file; a PIL image is saved to a temporary file of this model."""
        if isinstance(source, str | Path):
            return source_file(str(source), may_fetch=True)
        self._folder = self._folder or TemporaryDirectory(prefix="glmimg-")
        path = Path(self._folder.name) / f"source-{time.monotonic_ns()}.png"
        source.save(path, format="PNG")
        return path


def _refuse_unknown(keywords: Mapping[str, object], *models: type[Settings]) -> None:
    unknown = keywords.keys() - {each.name for model in models for each in knobs(model)}
    if unknown:
        raise TypeError(f"unknown keyword {min(unknown)!r}")


def _given(keywords: dict[str, Any], file: Layer | None = None) -> tuple[dict[str, Any], PresetStack]:
    """The job knobs set by keywords, environment and preset. Raises TypeError for an unknown keyword."""
    preset = keywords.pop("preset", "")
    _refuse_unknown(keywords, *JOB)
    stack, flags = load_stack([preset] if preset else []), check_values(keywords, *JOB)
    return precedence(flags=flags, environment=read_environment(*JOB), preset=stack.values, file=file), stack
