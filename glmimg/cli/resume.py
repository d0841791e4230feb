"""`glmimg resume`: finish dumps that stopped at their preview, and interrupted work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.choice import Keeping, ModelChoice, Output
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes, without
from glmimg.cli.streams import read_given
from glmimg.errors import BadDump, BadInput, UsageError
from glmimg.job import Job, Painting
from glmimg.request import layer_of
from glmimg.text import shell_words

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump
    from glmimg.unfinished import Unfinished


@takes(ModelChoice, Keeping, a.DUMPS, without(Painting, rare=True))
def resume(request: Request, dumps: a.DumpFiles) -> None:
    """Continue dumps that stopped at their preview, and interrupted work.

    Each dump continues with its own prompt, seed and sampling, so its tokens are the same as
    without stopping. The .part files of an interrupted or killed command are completed as well.

    \b
    Examples:
      glmimg resume x.tokens.json -o whole.tokens.json
      glmimg resume x.png.part
    """
    from glmimg.unfinished import is_unfinished, read_unfinished

    left = [path for path in dumps if is_unfinished(path)]
    if left:
        if len(left) < len(dumps):
            raise UsageError("dumps and unfinished work cannot be resumed together", "Name only one kind.")
        finish(request, {path: read_unfinished(path) for path in left})
        return
    from glmimg.cli.drawing import write_orders
    from glmimg.cli.run import Run
    from glmimg.engine.complete import complete_painting
    from glmimg.engine.dumps import check_same_ar_half
    from glmimg.engine.orders import Order

    begun = [read_given(path) for path in dumps]
    for path, dump in zip(dumps, begun, strict=True):
        check_begun(dump, path)
    run = Run.open(request, model=begun[0].model)
    orders = []
    for path, dump in zip(dumps, begun, strict=True):
        check_same_ar_half(dump, path, run.checkpoint)
        painting = complete_painting(request.job(file=layer_of(*dump.job_parts)), dump.seed, dump.size, dump.sources)
        orders.append(Order(dump.job(painting), begun=dump))
    write_orders(run, orders, layer_of(*begun[0].job_parts))


def check_begun(dump: TokenDump, path: Path) -> None:
    """Refuse a dump that is already finished. Raises BadDump (exit 3)."""
    if dump.has_target:
        raise BadDump(path, "already has its target grid", f"Paint it: glmimg decode {shell_words(path)}")


def finish(request: Request, left: dict[Path, Unfinished]) -> None:
    """Finish interrupted work; each result goes where it was meant to go.

    raises: UsageError (exit 2) for other settings than at its start, BadInput (exit 3) for other weights; else as
            `Desk.write` and `Desk.paint`
    """
    from glmimg.cli.drawing import report_dump, report_picture
    from glmimg.cli.outputs import check_outputs
    from glmimg.cli.run import Run
    from glmimg.engine.orders import Order, PaintOrder
    from glmimg.engine.scope import Scope

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
    painting = complete_painting(given, job.sampling.seed, job.scene.size, job.scene.sources)
    if left.dump is not None and painting != job.painting:
        raise UsageError(
            f"{path} keeps the settings it was started with",
            "Leave out the painting options, or start over.",
        )
    return job.model_copy(update={"painting": painting})
