"""glmimg from Python: one model that stays loaded, and draws, writes tokens and paints."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack, overload

from glmimg.choice import ModelChoice
from glmimg.engine.complete import complete, complete_painting
from glmimg.engine.dumps import check_fingerprint
from glmimg.engine.engine import Engine
from glmimg.engine.memory import check_extras
from glmimg.engine.stages import CheckpointStages
from glmimg.errors import GlmimgError
from glmimg.events import Watch, unwatched
from glmimg.image_io import Picture
from glmimg.job import Job
from glmimg.knob import Settings
from glmimg.preset import load_stack
from glmimg.request import JOB, check_values, layer_of, precedence, read_environment
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_fits_model

if TYPE_CHECKING:
    from PIL.Image import Image

    from glmimg.keywords import JobKeywords, ModelKeywords, PaintingKeywords

Source: TypeAlias = "str | Path | Image"


def load(model: str = "", *, watch: Watch = unwatched, **choice: Unpack[ModelKeywords]) -> Model:
    """A model to draw with; its weights load with the first picture and stay until it is closed.

    model:  a hub id, a directory or "demo"; empty is $GLMIMG_MODEL, else zai-org/GLM-Image
    watch:  is told what happens while it draws
    choice: knobs of `ModelChoice`: device, dtype, memory, quantize, lora, compile, ...
    raises: UsageError for a value that cannot be, ModelError for a missing or unfit checkpoint
    """
    with in_python():
        given = check_values(ModelChoice, {**choice, **({"model": model} if model else {})})
        return Model(ModelChoice(**precedence(flags=given, environment=read_environment(ModelChoice))), watch)


class Model:
    """Both stages of one checkpoint, kept loaded where memory allows. Use it as a context, or close it."""

    def __init__(self, choice: ModelChoice, watch: Watch = unwatched) -> None:
        self.choice = choice
        self.checkpoint = resolve(choice.model, choice.revision)
        self.shelf = SourceShelf()
        stages = CheckpointStages(self.checkpoint, choice, self.shelf)
        scope = stages.open_scope()
        self._engine = Engine(stages, scope, watch, keep_both=stages.both_fit(scope))
        self._folder: TemporaryDirectory[str] | None = None

    @overload
    def draw(
        self, prompt: str, *, sources: Source | Sequence[Source] = (), preset: str = "", **job: Unpack[JobKeywords]
    ) -> Picture: ...
    @overload
    def draw(
        self,
        prompt: list[str],
        *,
        sources: Source | Sequence[Source] = (),
        preset: str = "",
        **job: Unpack[JobKeywords],
    ) -> Iterator[Picture]: ...
    def draw(
        self,
        prompt: str | list[str],
        *,
        sources: Source | Sequence[Source] = (),
        preset: str = "",
        **job: Unpack[JobKeywords],
    ) -> Picture | Iterator[Picture]:
        """A picture from a prompt, or one after the other from a list of them.

        sources: pictures (of PIL, or files) an edit starts from
        preset:  the name or file of a preset
        job:     knobs of a job: size ("768x1152"), seed, steps, guidance, ...
        raises:  UsageError, BadPreset, BadImage, ModelError, OutOfMemory
        """
        with in_python():
            jobs = self._jobs(prompt, sources, preset, dict(job))
        pictures = self._drawn(jobs)
        return next(pictures) if isinstance(prompt, str) else pictures

    @overload
    def write(
        self, prompt: str, *, sources: Source | Sequence[Source] = (), preset: str = "", **job: Unpack[JobKeywords]
    ) -> TokenDump: ...
    @overload
    def write(
        self,
        prompt: list[str],
        *,
        sources: Source | Sequence[Source] = (),
        preset: str = "",
        **job: Unpack[JobKeywords],
    ) -> list[TokenDump]: ...
    def write(
        self,
        prompt: str | list[str],
        *,
        sources: Source | Sequence[Source] = (),
        preset: str = "",
        **job: Unpack[JobKeywords],
    ) -> TokenDump | list[TokenDump]:
        """Stage 1 alone: a token dump of a prompt, or of each of a list. Arguments as of `draw`."""
        with in_python():
            works = [TokenWork(each) for each in self._jobs(prompt, sources, preset, dict(job))]
            dumps = list(self._engine.write(works))
        return dumps[0] if isinstance(prompt, str) else dumps

    def paint(self, dump: TokenDump, *, preset: str = "", **painting: Unpack[PaintingKeywords]) -> Picture:
        """Stage 2 alone: a picture of a token dump, painted as it is meant to be unless knobs say otherwise.

        raises: BadDump for a dump of other weights; else as `draw`
        """
        with in_python():
            check_fits_model(dump, "the dump", codebook_size=self.checkpoint.decoder_codebook_size)
            check_fingerprint(dump, "the dump", self.checkpoint)
            given = self._given(preset, dict(painting), file=layer_of(*dump.job_parts))
            settings = complete_painting(given, dump.seed, dump.size)
            check_extras([(settings, bool(dump.sources))])
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

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _drawn(self, jobs: Sequence[Job]) -> Iterator[Picture]:
        for job in jobs:
            with in_python():
                (dump,) = self._engine.write([TokenWork(job)])
                picture = self._engine.paint(dump, job.painting)
            yield picture

    def _jobs(self, prompt: str | list[str], sources: Any, preset: str, job: dict[str, Any]) -> list[Job]:
        stack, given = load_stack([preset] if preset else []), self._given(preset, job)
        pictures = [sources] if isinstance(sources, str | Path) or hasattr(sources, "convert") else list(sources)
        refs = [self.shelf.take(self._file(each), self.checkpoint.source_bounds).ref for each in pictures]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        jobs = [complete({**given, "prompt": stack.fill(each)}, self.checkpoint, refs) for each in prompts]
        check_extras((each.painting, bool(refs)) for each in jobs)
        return jobs

    def _given(self, preset: str, knobs: dict[str, Any], file: Any = None) -> dict[str, Any]:
        flags: dict[str, Any] = {}
        environment: dict[str, Any] = {}
        models: tuple[type[Settings], ...] = JOB
        for model in models:
            flags |= check_values(model, {name: knobs.pop(name) for name in model.model_fields if name in knobs})
            environment |= read_environment(model)
        if knobs:
            raise TypeError(f"unknown keyword {next(iter(knobs))!r}")
        stack = load_stack([preset] if preset else [])
        return precedence(flags=flags, environment=environment, preset=stack.values, file=file)

    def _file(self, source: Any) -> Path:
        """A source as a file; a picture of PIL is put into one of this model's own."""
        if isinstance(source, str | Path):
            return Path(source)
        self._folder = self._folder or TemporaryDirectory(prefix="glmimg-")
        path = Path(self._folder.name) / f"source-{time.monotonic_ns()}.png"
        source.save(path, format="PNG")
        return path


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
    return re.sub(r"--(?:no-)?([a-z][a-z-]+)", lambda flag: flag[1].replace("-", "_"), text)
