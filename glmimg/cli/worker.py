"""`glmimg worker`: keep a model loaded between commands: start, status, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from glmimg.choice import Keeping, ModelChoice, Output
from glmimg.cli.options import Request, only, takes

if TYPE_CHECKING:
    from glmimg.engine.worker.link import Link

DEFAULT_KEEP = 600.0
"""Seconds that a worker stays if `glmimg worker start` names no time."""

worker = typer.Typer(
    help="Keep a model loaded between commands: start, status, stop.", no_args_is_help=False, add_completion=False
)


@worker.callback(invoke_without_command=True)
@takes(only(Output, "as_json"))
def worker_default(request: Request, context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_workers(request)


@worker.command()
@takes(ModelChoice, only(Keeping, "keep"), only(Output, "as_json", "quiet", "verbose"))
def start(request: Request) -> None:
    """Start a worker that keeps a model loaded for later commands with the same model options.

    \b
    Examples:
      glmimg worker start -m demo --keep 1h
    """
    from glmimg.cli.run import Run
    from glmimg.engine.worker.start import check_extra, start_worker

    check_extra("glmimg worker start")
    run, keep = Run.open(request), request.settings(Keeping).keep
    stages = run.own_stages
    stages.check("ar", "dit")
    link = start_worker(stages, DEFAULT_KEEP if keep is None else keep)
    request.console.result(f"{link.hello.model} pid {link.hello.pid}", fields_of(link))


@worker.command()
@takes(only(Output, "as_json"))
def status(request: Request) -> None:
    """List your workers."""
    show_workers(request)


@worker.command()
@takes(only(ModelChoice, "model"), only(Output, "as_json", "quiet"))
def stop(request: Request) -> None:
    """Stop the workers of a model, or all of them. Their current work is dropped."""
    from glmimg.engine.worker.start import running, silent

    wanted, links = request.flags.get("model"), running()
    found = [link for link in links if wanted is None or wanted in (link.hello.model, link.hello.choice.model)]
    for link in found:
        link.stop()
        request.console.result(f"{link.hello.model} pid {link.hello.pid} stopped", fields_of(link))
    lost = silent(links) if wanted is None else []
    for socket in lost:
        socket.unlink(missing_ok=True)  # without which it leaves
        request.console.note(f"the worker {socket.stem} does not answer; it is not asked again, and leaves once it can")
    if not found and not lost:
        request.console.note("no worker is running" + (f" for {wanted}" if wanted else ""))


def show_workers(request: Request) -> None:
    """A table of the running workers."""
    from glmimg.cli.progress import duration
    from glmimg.engine.worker.start import running, silent

    console, links = request.console, running()
    for socket in (lost := silent(links)):
        console.note(f"the worker {socket.stem} does not answer; glmimg worker stop lets it go")
    if console.json:
        for link in links:
            console.result("", fields_of(link))
        return
    if not links:
        if not lost:
            console.note("no worker is running; start one with glmimg worker start, or draw with --keep 10m")
        return
    from rich.table import Table

    table = Table("model", "pid", "device", "dtype", "done", "state", box=None, pad_edge=False)
    for link in links:
        hello = link.hello
        left = duration(max(0.0, hello.keep - hello.idle))
        state = f"at work, {hello.waiting} in its queue" if hello.waiting else f"leaves in {left}"
        table.add_row(hello.model, str(hello.pid), hello.device, hello.dtype, str(hello.done), state)
    console.show(table)


def fields_of(link: Link) -> dict[str, Any]:
    """A worker as `--json` reports it."""
    return {**link.hello.model_dump(mode="json"), "socket": str(link.socket)}
