"""Runs jobs on this machine: all token grids first, then all pictures, each half loaded once.

Everything a stage makes is on disk before the next risky thing starts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.atomic import write_atomically
from glmimg.engine.batches import BatchWriter, TokenWork
from glmimg.engine.versions import versions
from glmimg.errors import BadDump, GlmimgError, Interrupted, OutOfMemory
from glmimg.events import JobStarted, Loading, Saved, Watch, unwatched
from glmimg.image_io import Making, Picture, encode_png
from glmimg.job import ARChoice, Job, ModelChoice, PaintSettings, Sampling
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement, check_names, place
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump, check_fits_model, write_dump
from glmimg.tokens.grid import Role
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
        self.checkpoint = checkpoint
        self.choice = choice
        self.metadata = metadata
        self.watch = watch
        self.shelf = shelf or SourceShelf()
        self.embed = embed
        self.ar = ar

    def draw(self, orders: Sequence[Order]) -> Iterator[Painted]:
        """Both stages: every dump, then every picture. Yields each picture when it is on disk."""
        self.checkpoint.check("ar", "dit")
        yield from self.paint_written(list(self.write(orders)))

    def paint_written(self, written: Iterable[Written]) -> Iterator[Painted]:
        """Stage 2 for dumps just written, as their orders say. Raises as `paint`."""
        return self.paint(
            PaintOrder(each.dump, each.order.job.painting, each.order.picture_path, str(each.order.dump_path or "dump"))
            for each in written
        )

    def write(self, orders: Sequence[Order]) -> Iterator[Written]:
        """Stage 1. Yields each dump when it is on disk.

        raises: BadImage (exit 3) for a source that is not there, before weights load;
                ModelUnfit (exit 4), OutOfMemory (exit 5), WriteError (exit 1), Interrupted (exit 130)
        """
        self.checkpoint.check("ar")
        for order in orders:
            for ref in order.job.sources:
                self.shelf.check(ref)
        kept: list[Path] = []
        with _kept_on_failure(kept):
            self.watch(Loading("AR model"))  # before the import: that alone takes seconds
            from glmimg.ar.rework import score_dump
            from glmimg.ar.stage import ARStage

            stage = ARStage.load(self.checkpoint, self._place(), self.watch, self.shelf, self.ar)
            writer = BatchWriter(stage, self.watch, is_out_of_memory)
            works = [TokenWork(order.job, order.begun, order.until) for order in orders]
            for order, dump in zip(orders, writer.write(works), strict=True):
                if order.logprobs:
                    dump = score_dump(stage, dump)
                if self.embed:
                    dump = self.shelf.embed(dump)
                if order.dump_path is not None:
                    write_dump(dump, order.dump_path)
                    kept.append(order.dump_path)
                    self.watch(Saved(order.dump_path))
                yield Written(order, dump)
            stage.close()

    def paint(self, orders: Iterable[PaintOrder]) -> Iterator[Painted]:
        """Stage 2. Yields each picture when it is on disk.

        raises: BadDump (exit 3) for a dump of another codebook, BadImage (exit 3) for a source that is gone or
                another, before weights load; then as `write`
        """
        self.checkpoint.check("dit")
        orders = list(orders)
        for order in orders:
            check_fits_model(order.dump, order.name, codebook_size=self.checkpoint.decoder_codebook_size)
            self.shelf.find_all(order.dump, Path(order.name))
            check_has_grid(order.dump, order.name, order.grid)
        kept = [Path(order.name) for order in orders if Path(order.name).suffix == ".json"]
        with _kept_on_failure(kept):
            self.watch(Loading("decoder"))
            from glmimg.dit.stage import DiTStage

            placement = self._place()
            stage = DiTStage.load(self.checkpoint, placement, self.watch, self.shelf)
            for number, order in enumerate(orders, start=1):
                self.watch(JobStarted("picture", number, len(orders)))
                started = time.perf_counter()
                image = stage.paint(as_target(order.dump, order.grid), order.settings, self.watch)
                seconds = time.perf_counter() - started
                picture = Picture(image, making_of(order, placement))
                if order.picture_path is not None:
                    write_atomically(order.picture_path, encode_png(picture, metadata=self.metadata))
                    self.watch(Saved(order.picture_path))
                yield Painted(order, picture, seconds)
            stage.close()

    @contextmanager
    def open_ar(self) -> Iterator[ARStage]:
        """The loaded AR stage, for work on dumps rather than jobs. Raises as `write`."""
        self.checkpoint.check("ar")
        with _kept_on_failure([]):
            self.watch(Loading("AR model"))
            from glmimg.ar.stage import ARStage

            stage = ARStage.load(self.checkpoint, self._place(), self.watch)
            yield stage
            stage.close()

    def _place(self) -> Placement:
        return place(self.choice)


def making_of(order: PaintOrder, placement: Placement) -> Making:
    """How a picture came to be that is painted as `order` says."""
    return Making(
        job=painted_job(order.dump, order.settings),
        model=order.dump.model,
        device=placement.device.type,
        dtype=placement.dtype_name,
        versions=versions(),
        beyond=beyond_the_job(order),
        grid=order.grid,
    )


def painted_job(dump: TokenDump, settings: PaintSettings) -> Job:
    """The whole job a picture is made by: what its dump says and how it is painted."""
    return Job(
        prompt=dump.prompt,
        height=dump.height,
        width=dump.width,
        seed=dump.seed,
        dit_seed=settings.seed,
        steps=settings.steps,
        guidance=settings.guidance,
        sampling=sampling_of(dump),
        sources=tuple(source.ref for source in dump.sources),
    )


def beyond_the_job(order: PaintOrder) -> str:
    """What a picture owes to more than its job: a changed dump, tokens left out. Empty for nothing."""
    said = []
    if order.dump.parents:
        said.append(f"its tokens were changed ({order.dump.sampling.method})")
    if order.settings.dropped is not None:
        said.append(f"it was painted without the tokens of {order.settings.dropped.said}")
    return " and ".join(said)


def sampling_of(dump: TokenDump) -> Sampling:
    """How to draw the tokens of a dump again."""
    record = dump.sampling
    jacobi = record.method == "jacobi"
    return Sampling(
        temperature=record.temperature,
        top_p=record.top_p,
        top_k=record.top_k,
        method="jacobi" if jacobi else "sequential",
        window=record.window if jacobi else None,
    )


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


@contextmanager
def _kept_on_failure(kept: list[Path]) -> Iterator[None]:
    """Turn Ctrl-C and out-of-memory into errors that say which dumps are safe."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", _resume_hint(kept)) from error
    except GlmimgError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Try a smaller --size or --dtype bf16, or close other programs."
        raise OutOfMemory("out of memory", " ".join(filter(None, [hint, _resume_hint(kept)]))) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or a device had no memory left."""
    torch = sys.modules.get("torch")
    return (
        isinstance(error, MemoryError)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or "can't allocate memory" in str(error)
    )


def _resume_hint(kept: list[Path]) -> str:
    if not kept:
        return ""
    names = " ".join(str(path) for path in kept[:3]) + (" ..." if len(kept) > 3 else "")
    return f"Finished token dumps are kept; go on with: glmimg decode {names}"
