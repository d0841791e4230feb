"""What every drawing command has in hand: who asked for what, the checkpoint, the jobs, and an engine to draw with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.choice import ModelChoice, Output, Sources
from glmimg.cli.console import Console
from glmimg.cli.options import Request
from glmimg.cli.progress import ProgressLine
from glmimg.cli.streams import DASH
from glmimg.engine.complete import complete
from glmimg.errors import UsageError
from glmimg.job import Job, SourceRef
from glmimg.preset import load_stack
from glmimg.request import Layer
from glmimg.runtime.device import check_names
from glmimg.runtime.lora import check_runs
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf

if TYPE_CHECKING:
    from glmimg.engine.orders import Desk
    from glmimg.engine.stages import CheckpointStages, Scope
    from glmimg.runtime.checkpoint import Checkpoint, Half
    from glmimg.tokens.dump import ModelRef


@dataclass(frozen=True)
class Run:
    """One command, from what was asked for to the engine that does it."""

    request: Request
    choice: ModelChoice
    output: Output
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
        """Check what was asked for, and resolve what to draw with; nothing loads.

        prompts: those of a command that needs one, which a preset may hold instead
        model:  the one a picture or dump was made with, where a command starts from one
        loaded: how it was loaded then
        only:   the half the command runs, where it runs one: an adapter of the other would do nothing
        raises: UsageError (exit 2), ModelMissing (exit 4), BadConfig (exit 3), BadImage (exit 3) for a moved source
        """
        given, output = request.job(), request.settings(Output)
        if prompts is not None and not prompts and given.get("prompt") is None:
            raise UsageError("there is no prompt", "Say what to draw, for example: glmimg t2i 'a red circle'.")
        choice = request.settings(ModelChoice, file=_loaded_before(request, model, loaded))
        check_names(choice)
        if only is not None and "lora" in request.flags:
            check_runs(choice.lora, only)
        checkpoint = resolve(choice.model, choice.revision)
        shelf = SourceShelf([Path(path) for path in request.settings(Sources).source])
        return cls(request, choice, output, checkpoint, shelf)

    @property
    def console(self) -> Console:
        return self.request.console

    @property
    def stages(self) -> CheckpointStages:
        """The stages of the checkpoint, laid out as the choice says."""
        from glmimg.engine.stages import CheckpointStages

        return CheckpointStages(self.checkpoint, self.choice, self.shelf)

    def jobs(
        self, prompts: Sequence[str], count: int, sources: Sequence[SourceRef] = (), file: Layer | None = None
    ) -> list[Job]:
        """`count` jobs a prompt, with seeds seed, seed + 1, ... and the same sources. Raises as `complete`.

        file: what a picture says that is made again; its prompt is taken as it is, without templates
        """
        given, stack = self.request.job(file=file), load_stack(self.request.presets)
        texts = [stack.fill(prompt) for prompt in prompts] or [given["prompt"]]
        return [job for text in texts for job in self._with_seeds({**given, "prompt": text}, count, sources)]

    def _with_seeds(self, given: dict[str, Any], count: int, sources: Sequence[SourceRef]) -> list[Job]:
        first = complete(given, self.checkpoint, sources)
        return [
            first.again(seed=first.sampling.seed + offset, dit_seed=given.get("dit_seed")) for offset in range(count)
        ]

    @contextmanager
    def desk(self, scope: Scope, *, keep_both: bool = False) -> Iterator[Desk]:
        """A desk with an engine on it, and a bar on the terminal while it works."""
        from glmimg.engine.engine import Engine
        from glmimg.engine.orders import Desk
        from glmimg.engine.output_files import OutputFiles

        with (
            OutputFiles(force=self.output.force) as files,
            ProgressLine(self.console) as progress,
            Engine(self.stages, scope, progress, keep_both=keep_both) as engine,
        ):
            output = self.output
            piped = DASH in self.request.settings(Sources).image  # a source that lies nowhere
            yield Desk(
                *(engine, self.shelf, not output.no_metadata, output.embed_sources or piped, files),
                quality=output.image_quality,
            )


def _loaded_before(request: Request, model: ModelRef | None, loaded: ModelChoice | None) -> dict[str, Any] | None:
    """What a file says about the model to load: which it was, and what of the choice changes pixels."""
    if model is None and loaded is None:
        return None
    if "model" in request.flags:  # another model was asked for: the file's revision and adapters are not its own
        return {}
    given: dict[str, Any] = {} if model is None else {"model": model.id, "revision": model.revision}
    if model is None and loaded is not None:
        given = {"model": loaded.model, "revision": loaded.revision}
    if loaded is not None:
        given |= {"quantize": loaded.quantize, "lora": loaded.lora, "compile": loaded.compile, "dtype": loaded.dtype}
    return given
