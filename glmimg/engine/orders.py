"""Writing and painting for files: each result is on disk before the next risky step starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from glmimg.engine.engine import Engine
from glmimg.engine.failing import kept_on_failure
from glmimg.engine.memory import check_extras
from glmimg.engine.output_files import OutputFiles
from glmimg.engine.stages import ModelId, TokenStage
from glmimg.events import JobStarted, Saved
from glmimg.grid import Role
from glmimg.image_io import Picture
from glmimg.job import Job, Painting
from glmimg.metadata import QUALITY, format_of
from glmimg.sources import SourceShelf
from glmimg.tokens.change import Reading, Redraw, TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_has_grid
from glmimg.unfinished import Part


@dataclass(frozen=True)
class Order:
    """A job and where its two files go; None means that the file is not written.

    begun: a dump of the job's preview, to resume from
    until: the last grid stage 1 draws
    """

    job: Job
    dump_path: Path | None = None
    picture_path: Path | None = None
    begun: TokenDump | None = None
    until: Role = "target"

    def part(self, model: ModelId) -> Part | None:
        """Its .part file; None if the dump does not go to a file."""
        return model.part(self.dump_path, self.job, until=self.until)


@dataclass(frozen=True)
class PaintOrder:
    """A dump to paint, how, and where to. name: of the dump, for messages; grid: the one to paint"""

    dump: TokenDump
    painting: Painting
    picture_path: Path | None = None
    name: str = "the dump"
    grid: Role = "target"

    def part(self, model: ModelId) -> Part | None:
        """Its .part file; None without an output file, and with a step cache."""
        return model.part(self.picture_path, self.dump.job(self.painting), dump=self.dump, grid=self.grid)


class Written(NamedTuple):
    """A dump that is finished, and on disk if its order has a path for it."""

    order: Order
    dump: TokenDump

    def to_paint(self) -> PaintOrder:
        """How it is painted, as its order says."""
        order = self.order
        return PaintOrder(self.dump, order.job.painting, order.picture_path, str(order.dump_path or "dump"))


class Painted(NamedTuple):
    """A picture that is finished, and on disk if its order has a path for it."""

    order: PaintOrder
    picture: Picture
    seconds: float


@dataclass(frozen=True)
class Desk:
    """Carries out orders with an engine, and saves the results.

    shelf:    where the sources of edits are
    metadata: whether pictures carry their provenance
    embed:    whether dumps carry the pixels of their sources
    files:    the files this run writes
    quality:  of lossy pictures, 1 to 100
    """

    engine: Engine
    shelf: SourceShelf
    metadata: bool = True
    embed: bool = False
    files: OutputFiles = field(default_factory=OutputFiles)
    quality: int = QUALITY

    def draw(self, orders: Sequence[Order]) -> Iterator[Painted]:
        """Run both stages: every dump, then every picture, yielded when on disk. Raises as `write` and `paint`."""
        self.engine.stages.check("ar", "dit")
        check_extras(order.job.painting for order in orders)
        written = list(self.write(orders, then_paint=True))
        yield from self.paint(each.to_paint() for each in written)

    def write(self, orders: Sequence[Order], *, then_paint: bool = False) -> Iterator[Written]:
        """Run stage 1. Yields each dump when it is on disk. then_paint: stage 2 follows.

        raises: BadImage (exit 3) for a source that is not there, before weights load;
                ModelUnfit (exit 4), OutOfMemory (exit 5), WriteError (exit 1), Interrupted (exit 130)
        """
        self.engine.stages.check("ar")
        self.files.take(path for order in orders for path in (order.dump_path, order.picture_path))
        for order in orders:
            for ref in order.job.scene.sources:
                self.shelf.check(ref)
        kept: list[Path] = []
        parts = self._parts(orders)
        each = list(zip(orders, parts, strict=True))
        works = [TokenWork(order.job, order.begun, order.until, part) for order, part in each]
        underway = [(order.dump_path, part) for order, part in each]
        with kept_on_failure(kept, underway, then_paint=then_paint, if_none="No dump was requested, so none is kept."):
            drawn = self.engine.write(works, then_paint=then_paint)
            for order, dump, part in zip(orders, drawn, parts, strict=True):
                saved = self._save_dump(dump, order.dump_path)
                if part is not None:
                    part.clear()
                if order.dump_path is not None:
                    kept.append(order.dump_path)
                yield Written(order, saved)

    def paint(self, orders: Iterable[PaintOrder]) -> Iterator[Painted]:
        """Run stage 2. Yields each picture when it is on disk.

        raises: BadDump (exit 3) for a dump without the grid, BadImage (exit 3) for a source that is gone or
                another, before weights load; then as `write`
        """
        self.engine.stages.check("dit")
        orders = list(orders)
        self.files.take(order.picture_path for order in orders)
        check_extras(order.painting for order in orders)
        for order in orders:
            self.shelf.find_all(order.dump, Path(order.name))
            check_has_grid(order.dump, order.name, order.grid)
        kept = [Path(order.name) for order in orders if Path(order.name).suffix == ".json"]
        parts = self._parts(orders)
        underway = [(Path(order.name), part) for order, part in zip(orders, parts, strict=True)]
        with kept_on_failure(kept, underway, if_none="Pictures painted with --cache start over."):
            for number, (order, part) in enumerate(zip(orders, parts, strict=True), start=1):
                self.engine.watch(JobStarted("picture", number, len(orders)))
                painted = self._paint(order, part)
                if Path(order.name) in kept:
                    kept.remove(Path(order.name))
                yield painted

    def redraw(self, redraws: Sequence[tuple[Redraw, Path | None]]) -> Iterator[TokenDump]:
        """Redraw parts of dumps; each result is on disk at its path when it is yielded. Raises as `write`."""
        self.files.take(path for _, path in redraws)
        for number, (redraw, path) in enumerate(redraws, start=1):
            self.engine.watch(JobStarted("tokens", number, len(redraws)))

            def draw(stage: TokenStage, redraw: Redraw = redraw) -> TokenDump:
                return stage.redraw(redraw, self.engine.watch)

            yield self._one(draw, path)

    def encode(self, reading: Reading, path: Path | None) -> TokenDump:
        """Encode a picture into tokens and write the dump to its path. Raises as `write`."""
        return self._one(lambda stage: stage.encode(reading), path)

    def score(self, dump: TokenDump, path: Path | None) -> TokenDump:
        """Score a dump and write it, with the log-probability of every token, to its path. Raises as `write`."""
        return self._one(lambda stage: stage.score(dump), path)

    def _one(self, draw: Callable[[TokenStage], TokenDump], path: Path | None) -> TokenDump:
        self.engine.stages.check("ar")
        self.files.take([path])
        with kept_on_failure([], if_none="This starts over from the beginning."):
            return self._save_dump(self.engine.change(draw), path)

    def _save_dump(self, dump: TokenDump, path: Path | None) -> TokenDump:
        if self.embed:
            dump = self.shelf.embed(dump)
        if path is not None:
            self.files.write(path, dump.to_json().encode(), dump.seed)
            self.engine.watch(Saved(path))
        return dump

    def save(self, picture: Picture, path: Path) -> None:
        """Write a picture in the format of its extension. Raises WriteError (exit 1)."""
        data = picture.encode(format_of(path), metadata=self.metadata, quality=self.quality)
        self.files.write(path, data, picture.provenance.job.sampling.seed)

    def _parts(self, orders: Sequence[Order] | Sequence[PaintOrder]) -> list[Part | None]:
        """The .part file of each. Raises OutputError (exit 2) if one belongs to other work."""
        parts = [order.part(self.engine.stages.model) for order in orders]
        for part in filter(None, parts):
            part.check(force=self.files.force)
        return parts

    def _paint(self, order: PaintOrder, part: Part | None) -> Painted:
        self.engine.painter()
        started = time.perf_counter()
        picture = self.engine.paint(order.dump, order.painting, order.grid, part)
        seconds = time.perf_counter() - started
        if order.picture_path is not None:
            self.save(picture, order.picture_path)
            self.engine.watch(Saved(order.picture_path))
        if part is not None:
            part.clear()
        return Painted(order, picture, seconds)
