"""Work that was left unfinished, as `resume` goes on with it and `inspect` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.cli.console import Console
from glmimg.cli.options import Request
from glmimg.errors import BadInput, UsageError
from glmimg.job import Job
from glmimg.request import layer_of
from glmimg.text import shell_words
from glmimg.unfinished import Unfinished

if TYPE_CHECKING:
    from glmimg.cli.run import Run


def finish(request: Request, left: Mapping[Path, Unfinished]) -> None:
    """Go on with work that was left; without --out each result goes where it was meant to go.

    raises: UsageError (exit 2) for other settings than it was begun with, BadInput (exit 3) for other weights; else as
            `Desk.write` and `Desk.paint`
    """
    from glmimg.cli.drawing import report_picture
    from glmimg.cli.run import Run
    from glmimg.cli.writing import report_dump
    from glmimg.engine.orders import Order, PaintOrder
    from glmimg.engine.stages import Scope

    choice = next(iter(left.values())).choice
    run = Run.open(request, loaded=choice)
    for path, work in left.items():
        if (run.stages.model.fingerprint, run.choice.changes) != (work.fingerprint, work.choice.changes):
            raise BadInput(path, f"was left by {work.choice.model} with other weights", "Name that model with --model.")
    jobs = {path: _job(request, path, work) for path, work in left.items()}
    outputs = dict(zip(left, _outputs(run, left, jobs), strict=True))
    orders, paintings = [], []
    for path, work in left.items():
        if work.dump is None:
            orders.append(Order(jobs[path], outputs[path], until=work.until, left=path))
        else:
            paintings.append(PaintOrder(work.dump, work.job.painting, outputs[path], str(path), work.grid, left=path))
    with run.desk(Scope.of([*jobs.values()])) as desk:
        for written in desk.write(orders) if orders else ():
            report_dump(written.dump, written.order.dump_path, run.console)
        for painted in desk.paint(paintings) if paintings else ():
            report_picture(painted, None, run.console, metadata=desk.metadata)


def _job(request: Request, path: Path, left: Unfinished) -> Job:
    """The job of what was left. How a dump is to be painted may still be said; how a picture is cannot."""
    from glmimg.engine.complete import complete_painting

    job = left.job
    given = request.job(file=layer_of(job.scene, job.sampling, job.painting))
    painting = complete_painting(given, job.sampling.seed, job.scene.size)
    if left.dump is not None and painting != job.painting:
        raise UsageError(f"{path} is painted as it was begun", "Leave out the painting options, or begin it again.")
    return job.model_copy(update={"painting": painting})


def _outputs(run: Run, left: Mapping[Path, Unfinished], jobs: Mapping[Path, Job]) -> Sequence[Path]:
    """Where each result goes. Raises OutputError, UsageError (exit 2)."""
    from glmimg.cli.outputs import NameFields, check_outputs, name_outputs
    from glmimg.cli.streams import DASH

    out, stages = run.output.out, {work.stage for work in left.values()}
    if out is None:
        paths = [path.with_suffix("") for path in left]
    elif out == DASH or len(stages) > 1:
        raise UsageError(f"--out {out}: unfinished dumps and pictures go into files of their own", "Leave out --out.")
    else:
        paths = name_outputs(out, NameFields.of([*jobs.values()]), ".tokens.json" if "tokens" in stages else ".png")
    check_outputs(paths, force=run.output.force)
    return paths


def show_unfinished(left: Unfinished, path: Path, console: Console) -> None:
    """What a file of unfinished work says: as JSON, or for people."""
    again = f"glmimg resume {shell_words(path)}"
    if console.json:
        facts = left.model_dump(mode="json", include={"job", "done", "total", "seconds", "where", "fingerprint"})
        console.result("", {"unfinished": str(path), "stage": left.stage, **facts, "again": again})
        return
    from rich.table import Table
    from rich.text import Text

    what = "tokens are written" if left.dump is None else "denoising steps are done"
    facts = {
        "unfinished": f"{left.done} of {left.total} {what}",
        "prompt": left.job.scene.prompt,
        "size": left.job.scene.size,
        "seed": left.job.sampling.seed,
        "model": ", ".join([left.choice.model, *left.choice.changes]),
        "device": left.where,
        "go on": again,
    }
    table = Table("field", "value", box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        table.add_row(Text(name, style="dim"), Text(str(value)))
    console.show(table)
