"""Unfinished work on disk, as `resume` continues it and `inspect` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glmimg.choice import Output
from glmimg.cli.console import Console
from glmimg.cli.options import Request
from glmimg.errors import BadInput, UsageError
from glmimg.job import Job
from glmimg.request import layer_of
from glmimg.text import shell_words
from glmimg.unfinished import Unfinished


def finish(request: Request, left: Mapping[Path, Unfinished]) -> None:
    """Finish interrupted work; each result goes where it was meant to go.

    raises: UsageError (exit 2) for other settings than at its start, BadInput (exit 3) for other weights; else as
            `Desk.write` and `Desk.paint`
    """
    from glmimg.cli.drawing import report_picture
    from glmimg.cli.outputs import check_outputs
    from glmimg.cli.run import Run
    from glmimg.cli.writing import report_dump
    from glmimg.engine.orders import Order, PaintOrder
    from glmimg.engine.stages import Scope

    if request.settings(Output).out is not None:
        raise UsageError("--out cannot be used with unfinished work", "The result goes where it was meant to.")
    run = Run.open(request, loaded=next(iter(left.values())).choice)
    check_outputs([path.with_suffix("") for path in left], force=run.output.force)
    orders, paintings, jobs = [], [], []
    for path, work in left.items():
        if (run.own_stages.model.fingerprint, run.choice.changes) != (work.fingerprint, work.choice.changes):
            raise BadInput(path, f"was left by {work.choice.model} with other weights", "Name that model with --model.")
        jobs.append(job := _job(request, path, work))
        if work.dump is None:
            orders.append(Order(job, path.with_suffix(""), until=work.until))
        else:
            paintings.append(PaintOrder(work.dump, job.painting, path.with_suffix(""), str(path), work.grid))
    with run.desk(Scope.of(jobs)) as desk:
        for written in desk.write(orders) if orders else ():
            report_dump(written.dump, written.order.dump_path, run.console)
        for painted in desk.paint(paintings) if paintings else ():
            report_picture(painted, None, run.console, metadata=desk.metadata)


def _job(request: Request, path: Path, left: Unfinished) -> Job:
    """The job of unfinished work. The painting of a dump may still be changed, that of a picture may not."""
    from glmimg.engine.complete import complete_painting

    job = left.job
    given = request.job(file=layer_of(job.scene, job.sampling, job.painting))
    painting = complete_painting(given, job.sampling.seed, job.scene.size)
    if left.dump is not None and painting != job.painting:
        raise UsageError(
            f"{path} keeps the settings it was started with",
            "Leave out the painting options, or start over.",
        )
    return job.model_copy(update={"painting": painting})


def show_unfinished(left: Unfinished, path: Path, console: Console) -> None:
    """Show what a file of unfinished work holds, as JSON or as text."""
    again = f"glmimg resume {shell_words(path)}"
    if console.json:
        facts = left.model_dump(mode="json", include={"job", "done", "total", "seconds", "where", "fingerprint"})
        console.result("", {"unfinished": str(path), "stage": left.stage, **facts, "again": again})
        return
    from glmimg.cli.made import facts_table

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
    console.show(facts_table(facts))
