"""Runs jobs on this machine: all token grids first, then all pictures, each half loaded once.

Everything a stage makes is on disk before the next risky thing starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.atomic import write_atomically
from glmimg.engine.batches import BatchWriter, TokenWork
from glmimg.engine.failing import free_memory, is_out_of_memory, kept_on_failure
from glmimg.engine.memory import AHEAD_SHARE, MemoryKeeper, check_changes, check_extras, describe
from glmimg.engine.records import making_of, with_changes
from glmimg.errors import BadDump, OutOfMemory
from glmimg.events import JobStarted, Loading, Noted, Saved, Watch, unwatched
from glmimg.grid import Role
from glmimg.image_io import Picture, encode_png
from glmimg.job import ARChoice, Job, ModelChoice, PaintSettings
from glmimg.runtime.checkpoint import Checkpoint, Half
from glmimg.runtime.device import check_names, place
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import Layout
from glmimg.runtime.machine import free_host_bytes
from glmimg.runtime.readahead import ReadAhead
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_fits_model, write_dump
from glmimg.tokens.painting import as_target, check_has_grid

if TYPE_CHECKING:
    from glmimg.ar.stage import ARStage


@dataclass(frozen=True)
class Order:
    """A job and where its two files go; None keeps that one off the disk.

    logprobs: whether its tokens are scored
    begun: a dump of the job's preview, to go on from
    until: the last grid stage 1 draws
    """

    job: Job
    dump_path: Path | None = None
    picture_path: Path | None = None
    logprobs: bool = False
    begun: TokenDump | None = None
    until: Role = "target"


@dataclass(frozen=True)
class PaintOrder:
    """A dump to paint, how, and where to; `name` is what messages call the dump, `grid` which grid is painted."""

    dump: TokenDump
    settings: PaintSettings
    picture_path: Path | None = None
    name: str = "the dump"
    grid: Role = "target"


@dataclass(frozen=True)
class Written:
    """A dump that is finished, and on disk if its order has a path for it."""

    order: Order
    dump: TokenDump


@dataclass(frozen=True)
class Painted:
    """A picture that is finished, and on disk if its order has a path for it."""

    order: PaintOrder
    picture: Picture
    seconds: float


class LocalEngine:
    """Both stages of one checkpoint, one loaded at a time.

    metadata: whether pictures carry their making
    watch:    is told what happens
    shelf:    where the sources of edits are; what is not there is read from its file
    embed:    whether dumps carry the pixels of their sources
    ar:       how stage 1 is run
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        choice: ModelChoice,
        *,
        metadata: bool = True,
        watch: Watch = unwatched,
        shelf: SourceShelf | None = None,
        embed: bool = False,
        ar: ARChoice = ARChoice(),
    ) -> None:
        check_names(choice)
        check_changes(choice)
        self.checkpoint = checkpoint
        self.choice = choice
        self.metadata = metadata
        self.watch = watch
        self.shelf = shelf or SourceShelf()
        self.embed = embed
        self.ar = ar
        self._resident: dict[Half, Any] = {}
        self._keepers: dict[Half, MemoryKeeper] = {}

    def draw(self, orders: Sequence[Order]) -> Iterator[Painted]:
        """Both stages: every dump, then every picture. Yields each picture when it is on disk."""
        self.checkpoint.check("ar", "dit")
        check_extras((order.job.painting, bool(order.job.sources)) for order in orders)
        if "," in self.choice.device:
            self.memory("dit")  # a device that is not there is said before stage 1 works for it
        if self.choice.loras:
            self.memory("ar").check_loras("ar", "dit")
        yield from self.paint_written(list(self.write(orders, then_paint=True)))

    def paint_written(self, written: Iterable[Written]) -> Iterator[Painted]:
        """Stage 2 for dumps just written, as their orders say. Raises as `paint`."""
        return self.paint(
            PaintOrder(each.dump, each.order.job.painting, each.order.picture_path, str(each.order.dump_path or "dump"))
            for each in written
        )

    def write(self, orders: Sequence[Order], *, then_paint: bool = False) -> Iterator[Written]:
        """Stage 1. Yields each dump when it is on disk.

        then_paint: stage 2 follows, so its files are read ahead in the background
        raises: BadImage (exit 3) for a source that is not there, before weights load;
                ModelUnfit (exit 4), OutOfMemory (exit 5), WriteError (exit 1), Interrupted (exit 130)
        """
        self.checkpoint.check("ar")
        for order in orders:
            for ref in order.job.sources:
                self.shelf.check(ref)
        self.watch(Loading("AR model"))  # before torch is imported: that alone takes seconds
        yield from self._with_memory("ar", list(orders), partial(self._write_in, then_paint=then_paint))

    def paint(self, orders: Iterable[PaintOrder]) -> Iterator[Painted]:
        """Stage 2. Yields each picture when it is on disk.

        raises: BadDump (exit 3) for a dump of another codebook, BadImage (exit 3) for a source that is gone or
                another, before weights load; then as `write`
        """
        self.checkpoint.check("dit")
        orders = list(orders)
        check_extras((order.settings, bool(order.dump.sources)) for order in orders)
        for order in orders:
            check_fits_model(order.dump, order.name, codebook_size=self.checkpoint.decoder_codebook_size)
            self.shelf.find_all(order.dump, Path(order.name))
            check_has_grid(order.dump, order.name, order.grid)
        self.watch(Loading("decoder"))
        yield from self._with_memory("dit", orders, self._paint_in)

    def close(self) -> None:
        """Free what `--memory resident` kept."""
        for stage in self._resident.values():
            stage.close()
        self._resident.clear()

    def _with_memory(
        self, half: Half, orders: list[Any], run: Callable[[list[Any], int, Layout], Iterator[Any]]
    ) -> Iterator[Any]:
        """Run orders in the layout memory allows; with `auto`, what is left in a smaller one if that failed."""
        if not orders:
            return
        layout: Layout | None = None
        done, is_second = 0, False
        kept = [Path(order.name) for order in orders if half == "dit" and Path(order.name).suffix == ".json"]

        def explain() -> OutOfMemory:
            return self.memory(half).explain(half, layout or Layout(), self._request(half, orders))

        while True:
            try:
                with kept_on_failure(kept, explain):
                    layout = layout or self._layout(half, orders)
                    for result in run(orders, done, layout):
                        done += 1
                        if isinstance(result, Written) and result.order.dump_path is not None:
                            kept.append(result.order.dump_path)
                        elif isinstance(result, Painted) and Path(result.order.name) in kept:
                            kept.remove(Path(result.order.name))
                        yield result
                return
            except OutOfMemory as error:
                smaller = self.memory(half).smaller(half, layout) if layout is not None and not is_second else None
                if smaller is None:
                    raise
                reason = error.message
            layout, is_second = smaller, True
            self.watch(Noted(f"{reason}; trying once more: {describe(layout)}"))
            free_memory()

    def _layout(self, half: Half, orders: list[Any]) -> Layout:
        """Where the weights of a half shall go. Raises OutOfMemory (exit 5), BadInput (exit 3) for an unfit LoRA."""
        self.memory(half).check_loras(half)
        return self.memory(half).layout(half, self._request(half, orders))

    def _request(self, half: Half, orders: Sequence[Order | PaintOrder]) -> Request:
        """The largest picture among orders, as the memory plan wants to know it."""
        drawn = [order.job if isinstance(order, Order) else order.dump for order in orders]
        settings = [order.job.painting if isinstance(order, Order) else order.settings for order in orders]
        return self.memory(half).request(
            [(each.height, each.width) for each in drawn],
            guided=any(each.guidance > 1 for each in settings),
            with_sources=self._sees(drawn),
            one_batch=any(each.guidance_batch for each in settings),
        )

    def _sees(self, drawn: Iterable[Job | TokenDump]) -> bool:
        """Whether what reads source pictures has to be loaded; stages that stay loaded may meet some later."""
        return self._stays or any(each.sources for each in drawn)

    def _write_in(self, orders: list[Order], done: int, layout: Layout, *, then_paint: bool) -> Iterator[Written]:
        from glmimg.ar.rework import score_dump
        from glmimg.ar.stage import ARStage

        def load() -> ARStage:
            placement, eyes = self.memory("ar").placement, self._sees(order.job for order in orders)
            return ARStage.load(self.checkpoint, placement, self.watch, self.shelf, self.ar, layout, with_eyes=eyes)

        with self._opened("ar", load) as stage, self._reading_ahead(then_paint):
            left = orders[done:]
            writer = BatchWriter(stage, self.watch, is_out_of_memory)
            works = [TokenWork(order.job, order.begun, order.until) for order in left]
            for order, drawn in zip(left, writer.write(works), strict=True):
                dump = with_changes(drawn, self.choice.changes)
                if order.logprobs:
                    dump = score_dump(stage, dump)
                if self.embed:
                    dump = self.shelf.embed(dump)
                if order.dump_path is not None:
                    write_dump(dump, order.dump_path)
                    self.watch(Saved(order.dump_path))
                yield Written(order, dump)

    def _paint_in(self, orders: list[PaintOrder], done: int, layout: Layout) -> Iterator[Painted]:
        from glmimg.dit.stage import DiTStage

        def load() -> DiTStage:
            return DiTStage.load(
                self.checkpoint,
                self.memory("dit").placement,
                self.watch,
                self.shelf,
                layout,
                with_encoder=self._sees(order.dump for order in orders),
                compile=bool(self.choice.compile),
            )

        with self._opened("dit", load) as stage:
            for number, order in enumerate(orders[done:], start=done + 1):
                self.watch(JobStarted("picture", number, len(orders)))
                started = time.perf_counter()
                image = stage.paint(as_target(order.dump, order.grid), order.settings, self.watch)
                seconds = time.perf_counter() - started
                picture = Picture(image, making_of(order, self.memory("dit").placement, self.choice.changes))
                if order.picture_path is not None:
                    write_atomically(order.picture_path, encode_png(picture, metadata=self.metadata))
                    self.watch(Saved(order.picture_path))
                yield Painted(order, picture, seconds)

    def memory(self, half: Half) -> MemoryKeeper:
        """What decides where the weights of a half go. Raises UsageError (exit 2)."""
        if half not in self._keepers:
            self._keepers[half] = MemoryKeeper(self.checkpoint, self.choice, place(self.choice, half))
        return self._keepers[half]

    @property
    def _stays(self) -> bool:
        """Whether stages stay loaded: because it was asked for, or as each has a device of its own."""
        return self.choice.memory == "resident" or "," in self.choice.device

    @contextmanager
    def _opened(self, half: Half, load: Callable[[], Any]) -> Iterator[Any]:
        """A loaded stage, closed afterwards unless it is to stay."""
        if self._stays:
            if half not in self._resident:
                self._resident[half] = load()
            yield self._resident[half]
            return
        stage = load()
        try:
            yield stage
        finally:
            stage.close()

    @contextmanager
    def open_ar(self) -> Iterator[ARStage]:
        """The loaded AR stage, for work on dumps rather than jobs. Raises as `write`."""
        self.checkpoint.check("ar")
        self.watch(Loading("AR model"))
        memory = self.memory("ar")
        request = memory.request([self.checkpoint.default_size], guided=True, with_sources=True)
        layout = Layout()
        with kept_on_failure([], lambda: memory.explain("ar", layout, request)):
            from glmimg.ar.stage import ARStage

            memory.check_loras("ar")
            layout = memory.layout("ar", request)
            stage = ARStage.load(self.checkpoint, memory.placement, self.watch, self.shelf, self.ar, layout)
            with closing(stage):
                yield stage

    @contextmanager
    def _reading_ahead(self, then_paint: bool) -> Iterator[None]:
        """While stage 1 works, let the files of stage 2 come into the system's cache."""
        if not then_paint or "dit" in self._resident:
            yield
            return
        ahead = ReadAhead(self.memory("dit").files_of_stage_2(), int(free_host_bytes() * AHEAD_SHARE))
        try:
            yield
        finally:
            ahead.close()


def check_fingerprint(dump: TokenDump, name: str, checkpoint: Checkpoint) -> None:
    """Refuse a dump that other decoder weights were meant for.

    raises: BadDump (exit 3)
    """
    half = dump.model.fingerprint.rpartition("-")[2]
    if half not in ("none", checkpoint.half_fingerprint("dit")):
        raise BadDump(
            name,
            f"was written for {dump.model.id}, whose decoder has other weights than {checkpoint.id}",
            f"Use --model {dump.model.id}, or --any-model to paint it with these weights all the same.",
        )
