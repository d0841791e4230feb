"""`glmimg models`: list, download and check checkpoints, and plan memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glmimg.choice import ModelChoice, Output
from glmimg.cli.options import Request, only, takes
from glmimg.cli.planning import plan
from glmimg.errors import ModelUnfit

models = typer.Typer(
    help="Models on this machine: list, pull, rm, check, plan.", no_args_is_help=False, add_completion=False
)
models.command()(plan)


@models.callback(invoke_without_command=True)
@takes(only(Output, "as_json"))
def models_default(request: Request, context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_models(request)


@models.command("list")
@takes(only(Output, "as_json"))
def list_models(request: Request) -> None:
    """List the GLM-Image checkpoints on this machine, their size, and whether they are complete."""
    show_models(request)


def show_models(request: Request) -> None:
    """A table of the checkpoints on this machine."""
    from glmimg.runtime.hub import find_models

    console = request.console
    if console.json:
        for each in find_models():
            console.result("", each.fields())
        return
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("model", "revision", "size", "state", "folder", box=None, pad_edge=False)
    for each in find_models():
        model = each.checkpoint
        table.add_row(model.id, (model.revision or "")[:12], decimal(each.bytes), each.state, str(model.folder))
    console.show(table)


@models.command()
@takes(only(ModelChoice, "revision"), only(Output, "as_json", "events", "quiet"))
def pull(
    request: Request,
    model: Annotated[
        str, typer.Argument(metavar="HUB_ID", help="For example zai-org/GLM-Image, or modelscope:ZhipuAI/GLM-Image.")
    ] = "zai-org/GLM-Image",
    local_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Download into this folder instead of the hub cache.")
    ] = None,
) -> None:
    """Download a checkpoint from the hub, or finish an interrupted download."""
    from glmimg.cli.progress import EventLines
    from glmimg.runtime.hub import pull_model

    console, revision = request.console, request.settings(ModelChoice).revision
    watch = EventLines(console) if console.events else None
    checkpoint = pull_model(model, revision, local_dir, watch, show_progress=console.shows_progress)
    fields = {"model": model, "revision": checkpoint.revision, "folder": str(checkpoint.folder)}
    console.result(str(checkpoint.folder), fields)


@models.command("rm")
@takes(only(ModelChoice, "revision"), only(Output, "as_json"))
def remove(request: Request, model: Annotated[str, typer.Argument(metavar="HUB_ID")]) -> None:
    """Remove a model, or one revision of it, from the hub cache."""
    from rich.filesize import decimal

    from glmimg.runtime.hub import remove_model

    freed = remove_model(model, request.settings(ModelChoice).revision)
    request.console.result(f"{model}: {decimal(freed)} freed", {"model": model, "freed_bytes": freed})


@models.command()
@takes(only(ModelChoice, "revision"), only(Output, "as_json"))
def check(
    request: Request,
    model: Annotated[str, typer.Argument(metavar="DIR", help="A directory, a hub id in the cache, or `demo`.")],
) -> None:
    """Check whether a checkpoint is usable, and list everything that is wrong with it (exit 4)."""
    from glmimg.runtime.health import find_faults
    from glmimg.runtime.resolve import resolve

    console, checkpoint = request.console, resolve(model, request.settings(ModelChoice).revision)
    faults = list(find_faults(checkpoint))
    problems = [fault.message for fault in faults]
    fields = {"model": model, "folder": str(checkpoint.folder), "usable": not problems, "problems": problems}
    if console.json:
        console.result("", fields)
    elif not problems:
        console.result(f"{model}: a usable GLM-Image, fingerprint {checkpoint.fingerprint()}", fields)
    if problems:
        hints = dict.fromkeys(fault.hint.partition("; glmimg models check")[0] for fault in faults)
        raise ModelUnfit("\n       ".join(problems), ". ".join(hints))
