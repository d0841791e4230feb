"""What every drawing command works with: the request, the checkpoint, the jobs, and an engine to draw with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.choice import Ideas, Keeping, ModelChoice, Output, Sources
from glmimg.cli.console import Console
from glmimg.cli.options import BOTH_SEEDS, Request
from glmimg.cli.outputs import names_tell_prompt
from glmimg.cli.progress import reporter
from glmimg.cli.streams import DASH
from glmimg.cli.world import note_foreign_words
from glmimg.engine.complete import complete
from glmimg.errors import UsageError
from glmimg.ideas import find_ideas
from glmimg.job import Job, SourceRef, random_seed
from glmimg.preset import load_stack
from glmimg.request import Layer
from glmimg.runtime.device import check_names
from glmimg.runtime.lora import check_runs
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from glmimg.sources.web import is_address, source_file

if TYPE_CHECKING:
    from glmimg.engine.orders import Desk
    from glmimg.engine.scope import Scope
    from glmimg.engine.stages import CheckpointStages
    from glmimg.engine.worker.stages import WorkerStages
    from glmimg.runtime.checkpoint import Checkpoint, Half
    from glmimg.tokens.dump import ModelRef


@dataclass(frozen=True)
class Run:
    """One run of a command, from the request to the engine that carries it out."""

    request: Request
    choice: ModelChoice
    output: Output
    keeping: Keeping
    checkpoint: Checkpoint
    shelf: SourceShelf

    @classmethod
    def open(
        cls,
        request: Request,
        prompts: Sequence[str] | None = None,
        *,
        model: ModelRef | None = None,
        loaded: ModelChoice | None = None,
        only: Half | None = None,
    ) -> Run:
        """Check the request and resolve the model; nothing is loaded yet.

        prompts: those of a command that needs one, unless a preset has it
        model:  the one that made the picture or dump the command starts from
        loaded: how it was loaded then
        only:   the stage the command runs, if just one: an adapter for the other would have no effect
        raises: UsageError (exit 2), ModelMissing (exit 4), BadConfig (exit 3), BadImage (exit 3) for a moved source
        """
        given, output, keeping = request.job(), request.settings(Output), request.settings(Keeping)
        if prompts is not None and not prompts and given.get("prompt") is None:
            raise UsageError("no prompt given", "Say what to draw, for example 'a red circle'.")
        if keeping.keep is not None:
            from glmimg.engine.worker.start import check_keeping

            check_keeping(keeping)
        choice = request.settings(ModelChoice, file=_loaded_before(request, model, loaded))
        check_names(choice)
        if only is not None and "lora" in request.flags:
            check_runs(choice.lora, only)
        checkpoint = resolve(choice.model, choice.revision)
        if choice.quantize == "auto":
            choice = _compressed(choice, checkpoint, given.get("size"), request)
        note_foreign_words(prompts or [], checkpoint.folder, request.console)
        moved = request.settings(Sources)
        shelf = SourceShelf([source_file(path, may_fetch=moved.fetch) for path in moved.source])
        return cls(request, choice, output, keeping, checkpoint, shelf)

    @property
    def console(self) -> Console:
        return self.request.console

    @cached_property
    def own_stages(self) -> CheckpointStages:
        """The stages of the checkpoint in this process, loaded as the choice says."""
        from glmimg.engine.stages import CheckpointStages

        return CheckpointStages(self.checkpoint, self.choice, self.shelf)

    @cached_property
    def stages(self) -> CheckpointStages | WorkerStages:
        """The stages to draw with: a worker's, if one has the model or is to be started, else this process's own.

        raises: WorkerUnavailable (exit 1)
        """
        from glmimg.engine.worker.start import with_worker

        return with_worker(self.own_stages, self.keeping, self.console.note)

    @property
    def paints_beside(self) -> bool:
        """Whether stage 2 stays loaded here while stage 1 writes. A worker does one thing at a time."""
        return self.stages is self.own_stages and self.own_stages.stays

    def jobs(
        self, prompts: Sequence[str], count: int, sources: Sequence[SourceRef] = (), file: Layer | None = None
    ) -> list[Job]:
        """The jobs of each prompt, `count` a seed list or seeds seed, seed + 1, ... Raises as `complete`, `find_ideas`.

        file: what a picture says that is made again; its prompt is taken as it is, without templates
        """
        given, stack, asked = (
            self.request.job(file=file),
            load_stack(self.request.presets),
            self.request.settings(Ideas),
        )
        if self.request.seeds and count > 1:
            raise UsageError(*BOTH_SEEDS)
        asked = asked if prompts else asked.model_copy(update={"literal": True, "enhance": False})
        texts = prompts or [given["prompt"]]
        ideas = find_ideas(texts, asked, len(self.request.seeds) or count, self._rewrite(asked, edit=bool(sources)))
        if len(ideas) > len(texts):  # pictures to be compared share one seed
            given = {"seed": random_seed(), **given}
        said = [idea.fill(stack) if prompts else idea.values for idea in ideas]
        return [job for each in said for job in self._with_seeds({**given, **each}, count, sources)]

    def _rewrite(self, asked: Ideas, *, edit: bool) -> Callable[[str], str]:
        """What a language model makes of a prompt, shown as it comes; the prompt itself where none was asked for."""
        if not asked.enhance:
            return str
        from glmimg.enhance import Rewriter

        rewriter = Rewriter.of(asked, edit=edit, keep=not self.output.no_metadata)

        def shown(prompt: str) -> str:
            enhanced = rewriter(prompt)
            self.console.note(f"enhanced: {enhanced}")
            return enhanced

        return shown

    def _with_seeds(self, given: dict[str, Any], count: int, sources: Sequence[SourceRef]) -> list[Job]:
        first = complete(given, self.checkpoint, sources)
        seeds = self.request.seeds or range(first.sampling.seed, first.sampling.seed + count)
        return [first.again(seed=seed, dit_seed=given.get("dit_seed")) for seed in seeds]

    @contextmanager
    def desk(self, scope: Scope, *, keep_both: bool = False) -> Iterator[Desk]:
        """A desk with an engine, and a progress bar on the terminal while it works."""
        from glmimg.engine.engine import Engine
        from glmimg.engine.orders import Desk
        from glmimg.engine.output_files import OutputFiles

        with (
            OutputFiles(force=self.output.force) as files,
            self.remembered(files.written),
            reporter(self.console) as progress,
            Engine(self.stages, scope, progress, keep_both=keep_both) as engine,
        ):
            output = self.output
            images = self.request.settings(Sources).image
            nowhere = any(image == DASH or is_address(image) for image in images)  # on this machine
            yield Desk(
                *(engine, self.shelf, not output.no_metadata, output.embed_sources or nowhere, files),
                quality=output.image_quality,
            )

    @contextmanager
    def remembered(self, written: Mapping[Path, int | None]) -> Iterator[None]:
        """Record the files written in the history, even if the command fails."""
        from glmimg.history import remember

        started, output = time.perf_counter(), self.output
        try:
            yield
        finally:
            if output.history and written:
                if output.no_metadata and names_tell_prompt(output):
                    written = {path.parent: None for path in written}
                try:
                    remember(written, time.perf_counter() - started, private=output.no_metadata)
                except OSError as error:
                    self.console.note(f"the history was not updated: {error.strerror}; --no-history turns it off")


def _compressed(
    choice: ModelChoice, checkpoint: Checkpoint, size: tuple[int, int] | None, request: Request
) -> ModelChoice:
    """What `--quantize auto` takes for pictures of this size, or of the checkpoint's own; it is said."""
    from glmimg.cli.planning import source_sizes
    from glmimg.engine.expect import settled
    from glmimg.engine.scope import Scope

    settings = request.settings(Sources)
    files = tuple(path for path in settings.image if path != DASH)
    sources = source_sizes(settings.model_copy(update={"image": files}), [], checkpoint)
    size = size or (sources[0] if sources else checkpoint.default_size)
    choice = settled(checkpoint, choice, Scope(*size, sources=sources))
    request.console.note(f"--quantize auto takes {choice.quantize}")
    return choice


def _loaded_before(request: Request, model: ModelRef | None, loaded: ModelChoice | None) -> dict[str, Any] | None:
    """The model settings of a file: which model it was, and the choices that change pixels."""
    if model is None and loaded is None:
        return None
    if "model" in request.flags:  # another model was asked for: the file's revision and adapters are not its own
        return {}
    given: dict[str, Any] = {} if model is None else {"model": model.id, "revision": model.revision}
    if model is None and loaded is not None:
        given = {"model": loaded.model, "revision": loaded.revision}
    if loaded is not None:
        kept = ("quantize", "lora", "compile", "attention", "dtype")
        given |= {name: getattr(loaded, name) for name in kept}
    return given
