"""What the commands that draw share once their jobs are known: place the outputs, draw or write, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from glmimg.choice import Output
from glmimg.cli import outputs
from glmimg.cli.console import Console
from glmimg.cli.progress import duration
from glmimg.cli.run import Run
from glmimg.cli.sheet import Sheet
from glmimg.cli.streams import DASH
from glmimg.engine.drafts import Draft, draw_with_drafts
from glmimg.engine.orders import Order, Painted
from glmimg.engine.scope import Scope
from glmimg.errors import UsageError
from glmimg.job import Job
from glmimg.request import Layer
from glmimg.runtime.checkpoint import HALVES, Half
from glmimg.tokens.dump import TokenDump


def draw_jobs(run: Run, jobs: Sequence[Job], file: Layer | None = None) -> None:
    """Draw every job and report each picture as it is finished.

    file:   settings of the picture being reproduced
    raises: OutputError (exit 2) before anything loads; else as `Desk.draw`
    """
    drafts, sheet = place_drafts(jobs, run.output), Sheet.of(run, jobs)
    others = [*(draft.path for draft in drafts if draft.path), *([sheet.path] if sheet else [])]
    orders = place_orders(jobs, run.output, others=others)
    files = [path for order in orders for path in (order.picture_path, order.dump_path)]
    show = run.console.picture if run.console.shows_pictures else None
    if show and run.paints_beside:
        drafts = drafts or [Draft(job, None) for job in jobs]
    if only_planned(run, jobs, [*files, *others], file=file):
        return
    report_seeds(jobs, run.console)
    note_slowness(run, Scope.of(jobs))
    with run.desk(Scope.of(jobs), keep_both=bool(drafts)) as desk:
        paintings = draw_with_drafts(desk, orders, drafts, show) if drafts else desk.draw(orders)
        for order, painted in zip(orders, paintings, strict=True):
            report_picture(painted, order.dump_path, run.console, metadata=desk.metadata)
            if sheet:
                sheet.add(painted.picture.image)
        if sheet:
            sheet.write(desk)


def note_slowness(run: Run, scope: Scope) -> None:
    """Say before anything loads that layers will be streamed, where compressed ones take less than a tenth as long."""
    from glmimg.engine.expect import far_faster
    from glmimg.engine.stages import CheckpointStages
    from glmimg.runtime.quantize import lacks

    found = far_faster(run.stages, scope) if isinstance(run.stages, CheckpointStages) else None
    if found is None:
        return
    exact, close = found
    library = lacks(close.quantize)
    needs = f" (needs the extra {library})" if library else ""
    run.console.note(
        f"layers are streamed, about {duration(exact.seconds)} a picture; --quantize {close.quantize}{needs} takes "
        f"about {duration(close.seconds)} and changes {close.changes}"
    )


def only_planned(
    run: Run,
    jobs: Sequence[Job],
    files: Sequence[Path | None],
    halves: Sequence[Half] = HALVES,
    file: Layer | None = None,
) -> bool:
    """Show the plan if this is a dry run. Returns whether it is. Arguments as for `show_plan`."""
    if run.output.dry_run:
        from glmimg.cli.dry_run import show_plan

        show_plan(run, jobs, files, halves, file)
    return run.output.dry_run


def place_orders(
    jobs: Sequence[Job], output: Output, *, first_index: int = 1, others: Sequence[Path] = ()
) -> list[Order]:
    """Give each job its two paths, `{index}` counting from `first_index`; none is one of `others`.

    raises: OutputError, UsageError (exit 2)
    """
    names = outputs.NameFields.of(jobs, first_index)
    pictures: Sequence[Path | None]
    if output.out == DASH:
        outputs.check_standard_output(output, len(jobs))
        pictures = [None]
    else:
        pictures = outputs.name_outputs(output.out, names, ".png")
    dumps: Sequence[Path | None] = [None] * len(jobs)
    if not output.no_tokens and output.tokens_out is not None:
        dumps = outputs.name_outputs(output.tokens_out, names, ".tokens.json")
    elif not output.no_tokens:
        dumps = [path and outputs.dump_path_beside(path) if not outputs.is_device(path) else None for path in pictures]
    written = [path for path in [*pictures, *dumps] if path is not None]
    outputs.check_results(written, output, others)
    return [Order(*each) for each in zip(jobs, dumps, pictures, strict=True)]


def place_drafts(jobs: Sequence[Job], output: Output) -> list[Draft]:
    """Where the draft of each job goes, if --preview-out was given. Raises OutputError, UsageError (exit 2)."""
    if output.preview_out is None:
        return []
    if output.preview_out == DASH:
        raise UsageError("--preview-out - : standard output is for results", "Write drafts to files.")
    paths = outputs.name_outputs(output.preview_out, outputs.NameFields.of(jobs), ".preview.png")
    outputs.check_results(paths, output)
    return [Draft(job, path) for job, path in zip(jobs, paths, strict=True)]


def report_seeds(jobs: Sequence[Job], console: Console) -> None:
    """Print the seeds, so that a random one can be reused."""
    seeds = list(dict.fromkeys(str(job.sampling.seed) for job in jobs))
    shown = ", ".join(seeds[:8]) + (", ..." if len(seeds) > 8 else "")
    console.note(f"seed {shown}" if len(seeds) == 1 else f"seeds {shown}")


def report_picture(painted: Painted, dump_path: Path | None, console: Console, *, metadata: bool = True) -> None:
    """The result line of one picture: its path, or all about it as JSON, or the PNG itself."""
    path = painted.order.picture_path
    if path is None:
        console.raw(painted.picture.encode(metadata=metadata))
    else:
        console.result(str(path), picture_fields(painted, path, dump_path))
    console.picture(painted.picture.image)
    if path is not None:
        console.open(path)


def picture_fields(painted: Painted, path: Path, dump_path: Path | None) -> dict[str, Any]:
    """A picture as `--json` reports it: its files, the job as it stands in the metadata, the model, the times."""
    provenance, dump = painted.picture.provenance, painted.order.dump
    return {
        "picture": str(path),
        "tokens": str(dump_path) if dump_path else None,
        **provenance.job.model_dump(mode="json"),
        "model": provenance.model.id,
        "fingerprint": provenance.model.fingerprint,
        "device": provenance.device,
        "dtype": provenance.dtype,
        "seconds": {"tokens": dump.stats.seconds, "picture": round(painted.seconds, 3)},
    }


def write_orders(run: Run, orders: Sequence[Order], file: Layer | None = None) -> None:
    """Write the dump of every order and report each. Raises OutputError (exit 2), else as `Desk.write`.

    file: settings of the first dump that is resumed
    """
    jobs = [order.job for order in orders]
    paths = place_dumps(outputs.NameFields.of(jobs), run.output)
    if only_planned(run, jobs, paths, ("ar",), file):
        return
    report_seeds(jobs, run.console)
    placed = [replace(order, dump_path=path) for order, path in zip(orders, paths, strict=True)]
    with run.desk(Scope.of(jobs)) as desk:
        for written in desk.write(placed):
            report_dump(written.dump, written.order.dump_path, run.console)


def place_dumps(names: Sequence[outputs.NameFields], output: Output) -> list[Path | None]:
    """A path for each dump; None is standard output. Raises OutputError, UsageError (exit 2)."""
    if output.out == DASH:
        if output.as_json:
            raise UsageError("--out - already writes JSON to standard output", "Leave out --json.")
        return [None] * len(names)
    paths = outputs.name_outputs(output.out, names, ".tokens.json")
    outputs.check_results(paths, output)
    return list(paths)


def report_dump(dump: TokenDump, path: Path | None, console: Console) -> None:
    """The result line of a dump: its path, or all about it as JSON, or the dump itself."""
    if path is None:
        console.raw(dump.to_json().encode())
    else:
        console.result(str(path), dump_fields(dump, path))
        if console.shows_pictures:
            from glmimg.cli.showing import of_tokens

            console.picture(of_tokens([dump]))


def dump_fields(dump: TokenDump, path: Path) -> dict[str, Any]:
    """A dump as `--json` reports it."""
    return {
        "tokens": str(path),
        "prompt": dump.prompt,
        "size": str(dump.size),
        "seed": dump.seed,
        "grids": {grid.role: [grid.height, grid.width] for grid in dump.grids},
        "sources": [source.ref.model_dump() for source in dump.sources],
        "method": dump.sampling.method,
        "sampling": dump.sampling.model_dump(),
        "parents": [each.model_dump() for each in dump.parents],
        "model": dump.model.id,
        "fingerprint": dump.model.fingerprint,
        "stats": dump.stats.model_dump(),
    }


def check_grid_name(option: str, name: str) -> Literal["preview", "target"]:
    """The grid an option names. Raises UsageError (exit 2)."""
    if name == "preview":
        return "preview"
    if name == "target":
        return "target"
    raise UsageError(f"{option} {name}: there is no such grid", "Use preview or target.")
