"""The two stages as a worker has them, for a client's engine: it cannot tell them from those in its own process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from glmimg.engine.engine import Engine
from glmimg.engine.provenance import provenance_of
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages, ModelId, Needs, PaintStage, TokenStage
from glmimg.engine.worker import units
from glmimg.engine.worker.link import Link
from glmimg.engine.worker.units import Left, Message, SentPart, SentSource, Unit, Work
from glmimg.errors import OutOfMemory, WorkerLost
from glmimg.events import Event, Noted, Watch
from glmimg.grid import Role
from glmimg.image_io import Provenance
from glmimg.job import Painting, SourceRef
from glmimg.runtime.checkpoint import Half
from glmimg.runtime.layout import Layout
from glmimg.sources import SourceShelf
from glmimg.tokens.change import Reading, Redraw, TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.unfinished import Part, try_to_leave

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")


@dataclass
class WorkerStages:
    """The stages of a checkpoint, held loaded by a worker.

    own:  the same stages in this process
    here: those at work, once the worker is lost
    is_writing: whether stage 1 is at work
    """

    own: CheckpointStages
    link: Link
    here: Engine | None = None
    is_writing: bool = False

    @property
    def model(self) -> ModelId:
        return self.own.model

    @property
    def stays(self) -> bool:
        return True

    def check(self, *halves: Half) -> None:
        """Nothing: the worker checked what it holds."""

    def layout(self, half: Half, scope: Scope) -> Layout:
        return Layout()

    def smaller(self, half: Half, layout: Layout) -> Layout | None:
        return None

    def explain(self, half: Half, layout: Layout, scope: Scope) -> OutOfMemory:
        return self.own.explain(half, layout, scope)

    def load_tokens(self, layout: Layout, scope: Scope, watch: Watch) -> TokenStage:
        return _Tokens(self, scope, watch)

    def load_painter(self, layout: Layout, scope: Scope, watch: Watch) -> PaintStage:
        return _Painter(self, scope, watch)

    def both_fit(self, scope: Scope) -> bool:
        return True

    def painting_devices(self) -> list[str]:
        return []

    def on(self, device: str) -> CheckpointStages:
        return self.own.on(device)

    def open_scope(self) -> Scope:
        return self.own.open_scope()

    def needs(self, scope: Scope) -> Needs:
        return self.own.needs(scope)

    def provenance(self, dump: TokenDump, painting: Painting, grid: Role) -> Provenance:
        hello = self.link.hello
        return provenance_of(dump, painting, grid, hello.device, hello.dtype, self.own.choice)

    def __getstate__(self) -> dict[str, Any]:
        return {"own": self.own, "link": self.link, "here": None}


@dataclass
class _Stage:
    """What both stages share: units go to the worker, and are done here once it is lost."""

    stages: WorkerStages
    scope: Scope
    watch: Watch

    def close(self) -> None:
        if self.stages.here is not None:
            self.stages.here.close()

    def _do(
        self,
        unit: Unit,
        read: Callable[[Message], Result],
        here: Callable[[Engine], Result],
        watch: Watch | None = None,
        parts: Sequence[Part | None] = (),
    ) -> Result:
        """Have a unit done. parts: where each of its works is left unfinished"""
        stages, watch = self.stages, watch or self.watch

        def hear(news: Event | Left) -> None:
            if not isinstance(news, Left):
                watch(news)
            elif (part := parts[news.number]) is not None:
                try_to_leave(partial(part.keep, news.raw), watch)

        if stages.here is None:
            try:
                return read(stages.link.ask(unit, hear))
            except WorkerLost as lost:
                watch(Noted(f"{lost.message}; going on without it"))
                stages.here = Engine(stages.own, self.scope, watch)
        return here(stages.here)

    def _sent(self, refs: Iterable[SourceRef]) -> tuple[SentSource, ...]:
        """The pixels of source pictures, each once. Raises BadImage (exit 3)."""
        shelf, each = self.stages.own.shelf or SourceShelf(), dict.fromkeys(refs)
        return tuple(SentSource.of(shelf.get(ref)) for ref in each)

    def _sources_of(self, dump: TokenDump) -> tuple[SentSource, ...]:
        """Those of a dump that it does not carry itself."""
        return self._sent(source.ref for source in dump.sources if source.embedded is None)


@dataclass
class _Tokens(_Stage):
    """Stage 1."""

    def write(self, works: Sequence[TokenWork], watch: Watch) -> list[TokenDump]:
        sent = tuple(Work.of(work) for work in works)
        sources = self._sent(ref for work in works for ref in work.job.scene.sources)
        unit = units.Write(scope=self.scope, sources=sources, works=sent)

        def dumps(answer: Message) -> list[TokenDump]:
            return [_dump(dump) for dump in answer["dumps"]]

        self.stages.is_writing = True
        try:
            return self._do(
                unit, dumps, lambda here: here.tokens().write(works, watch), watch, [work.part for work in works]
            )
        finally:
            self.stages.is_writing = False

    def rows_that_fit(self, work: TokenWork) -> int:
        unit = units.RowsThatFit(scope=self.scope, sources=self._sent(work.job.scene.sources), work=Work.of(work))
        return self._do(unit, lambda answer: int(answer["rows"]), lambda here: here.tokens().rows_that_fit(work))

    def redraw(self, redraw: Redraw, watch: Watch) -> TokenDump:
        unit = units.Redraw(scope=self.scope, sources=self._sent(redraw.job.scene.sources), redraw=redraw)
        return self._do(unit, _one_dump, lambda here: here.tokens().redraw(redraw, watch), watch)

    def score(self, dump: TokenDump) -> TokenDump:
        unit = units.Score(scope=self.scope, sources=self._sources_of(dump), dump=dump)
        return self._do(unit, _one_dump, lambda here: here.tokens().score(dump))

    def encode(self, reading: Reading) -> TokenDump:
        unit = units.Encode(
            scope=self.scope, image=units.pack_picture(reading.image), height=reading.height, width=reading.width,
            prompt=reading.prompt, seed=reading.seed, painting=reading.painting, parent=reading.parent,
        )  # fmt: skip
        return self._do(unit, _one_dump, lambda here: here.tokens().encode(reading))


@dataclass
class _Painter(_Stage):
    """Stage 2."""

    def paint(self, dump: TokenDump, painting: Painting, watch: Watch, part: Part | None = None) -> Image:
        unit = units.Paint(
            scope=self.scope, sources=self._sources_of(dump), dump=units.TargetOnly.of(dump), painting=painting,
            meanwhile=self.stages.is_writing, part=SentPart.of(part),
        )  # fmt: skip

        def picture(answer: Message) -> Image:
            return units.unpack_picture(answer["picture"])

        return self._do(unit, picture, lambda here: here.painter().paint(dump, painting, watch, part), watch, [part])


def _dump(fields: Message) -> TokenDump:
    return TokenDump.model_validate(fields, strict=False)


def _one_dump(answer: Message) -> TokenDump:
    return _dump(answer["dump"])
