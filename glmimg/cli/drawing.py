"""What `t2i` and `edit` share once the jobs are known: place the outputs, draw, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.cli.console import Console
from glmimg.cli.progress import ProgressLine
from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.engine.local import LocalEngine, Order, Painted
    from glmimg.engine.preview import PreviewPainter
    from glmimg.events import Watch
    from glmimg.job import ARChoice, Job, ModelChoice
    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.sources import SourceShelf


@dataclass(frozen=True)
class Destination:
    """Where pictures and dumps go, as the command line said it."""

    out: str | None
    tokens_out: str | None = None
    keep_tokens: bool = True
    metadata: bool = True
    force: bool = False
    embed_sources: bool = False
    preview_out: str | None = None


@dataclass(frozen=True)
class Drawing:
    """With what pictures are drawn, and where they go."""

    checkpoint: Checkpoint
    choice: ModelChoice
    destination: Destination
    ar: ARChoice
    shelf: SourceShelf | None = None

    def engine(self, watch: Watch) -> LocalEngine:
        """A fresh engine that tells `watch`."""
        from glmimg.engine.local import LocalEngine

        return LocalEngine(
            self.checkpoint,
            self.choice,
            metadata=self.destination.metadata,
            watch=watch,
            shelf=self.shelf,
            embed=self.destination.embed_sources,
            ar=self.ar,
        )


def draw_jobs(
    jobs: Sequence[Job],
    checkpoint: Checkpoint,
    choice: ModelChoice,
    destination: Destination,
    console: Console,
    shelf: SourceShelf | None = None,
    ar: ARChoice | None = None,
) -> None:
    """Draw every job and report each picture as it is finished.

    shelf:  the sources of edits
    raises: OutputError (exit 2) before anything loads; else as `LocalEngine.draw`
    """
    from glmimg.job import ARChoice

    drawing = Drawing(checkpoint, choice, destination, ar or ARChoice(), shelf)
    orders = place_orders(jobs, destination, json=console.json)
    painter = draft_painter(jobs, drawing)
    report_seeds(jobs, console)
    with ProgressLine(console) as progress:
        if painter is None:
            paintings = drawing.engine(progress).draw(orders)
        else:
            paintings = painter.draw(orders, drawing.engine, progress)
        for order, painted in zip(orders, paintings, strict=True):
            report_picture(painted, order.dump_path, console, metadata=destination.metadata)


def draft_painter(jobs: Sequence[Job], drawing: Drawing) -> PreviewPainter | None:
    """What paints the previews meanwhile, if --preview-out was said. Raises OutputError (exit 2)."""
    from glmimg.cli import outputs
    from glmimg.engine.preview import PreviewPainter
    from glmimg.events import unwatched

    pattern = drawing.destination.preview_out
    if pattern is None:
        return None
    if pattern == outputs.STANDARD_OUTPUT:
        raise UsageError("--preview-out - : standard output is for results", "Write drafts to files.")
    paths = outputs.name_outputs(pattern, outputs.NameFields.of(jobs), ".preview.png")
    outputs.check_outputs(paths, force=drawing.destination.force)
    return PreviewPainter(drawing.engine(unwatched), list(zip(jobs, paths, strict=True)))


def place_orders(jobs: Sequence[Job], destination: Destination, *, json: bool, first_index: int = 1) -> list[Order]:
    """Give each job its two paths, `{index}` counting from `first_index`. Raises OutputError, UsageError (exit 2)."""
    from glmimg.cli import outputs
    from glmimg.engine.local import Order

    names = outputs.NameFields.of(jobs, first_index)
    pictures: Sequence[Path | None]
    if destination.out == outputs.STANDARD_OUTPUT:
        if json or len(jobs) > 1:
            raise UsageError("--out - takes one picture, and no --json", "Write to files instead.")
        pictures = [None]
    else:
        pictures = outputs.name_outputs(destination.out, names, ".png")
    dumps: Sequence[Path | None] = [None] * len(jobs)
    if destination.keep_tokens and destination.tokens_out is not None:
        dumps = outputs.name_outputs(destination.tokens_out, names, ".tokens.json")
    elif destination.keep_tokens:
        dumps = [path and outputs.dump_path_beside(path) if not outputs.is_device(path) else None for path in pictures]
    outputs.check_outputs([path for path in [*pictures, *dumps] if path is not None], force=destination.force)
    return [Order(*each) for each in zip(jobs, dumps, pictures, strict=True)]


def report_seeds(jobs: Sequence[Job], console: Console) -> None:
    """Say the seeds, so that a random one can be used again."""
    seeds = [str(job.seed) for job in jobs]
    shown = ", ".join(seeds[:8]) + (", ..." if len(seeds) > 8 else "")
    console.note(f"seed {shown}" if len(seeds) == 1 else f"seeds {shown}")


def report_picture(painted: Painted, dump_path: Path | None, console: Console, *, metadata: bool = True) -> None:
    """The result line of one picture: its path, or all about it as JSON, or the PNG itself."""
    path = painted.order.picture_path
    if path is None:
        from glmimg.image_io import encode_png

        console.raw(encode_png(painted.picture, metadata=metadata))
        return
    console.result(str(path), picture_fields(painted, path, dump_path))


def picture_fields(painted: Painted, path: Path, dump_path: Path | None) -> dict[str, Any]:
    """A picture as `--json` reports it: its files, the job as it stands in the metadata, the model, the times."""
    making, dump = painted.picture.making, painted.order.dump
    return {
        "picture": str(path),
        "tokens": str(dump_path) if dump_path else None,
        **making.job.model_dump(mode="json"),
        "model": making.model.id,
        "fingerprint": making.model.fingerprint,
        "device": making.device,
        "dtype": making.dtype,
        "seconds": {"tokens": dump.stats.seconds, "picture": round(painted.seconds, 3)},
    }
