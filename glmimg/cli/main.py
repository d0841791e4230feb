"""The program: its commands, and the only place where an error becomes a message and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from glmimg import __version__
from glmimg.cli import streams
from glmimg.cli.commands import LazyGroup
from glmimg.cli.console import Console
from glmimg.errors import GlmimgError, Interrupted, ModelUnfit, OutOfMemory, WriteError

app = typer.Typer(
    name="glmimg",
    cls=LazyGroup,
    help="Draw pictures with GLM-Image, in two stages with a token file between them.\n\n"
    "\b\nExamples:\n"
    '  glmimg t2i "a red circle on a blue background" --model demo -o circle.png\n'
    '  glmimg edit "make the background green" -i circle.png --model demo -o green.png\n',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130


def print_version(wanted: bool) -> None:
    """Print the version and exit, if requested."""
    if wanted:
        Console().result(f"glmimg {__version__}", {})
        raise typer.Exit


@app.callback()
def top_level(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Options of glmimg itself."""


def main() -> NoReturn:
    """Run a command line. Never returns; prints a traceback only with -v."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else every installed package is read
    streams.prepare()
    said = set(sys.argv)
    console = Console(verbose=bool({"-v", "--verbose"} & said), events="--events" in said)
    status = _run(console)
    if reason := streams.flush():
        console.error(WriteError("standard output", reason))
        status = status or WriteError.exit_code
    sys.exit(status)


def _was_interrupted() -> bool:
    """Whether Ctrl-C has come. An import that it breaks off may raise anything, as transformers' lazy ones do."""
    return getattr(signal.getsignal(signal.SIGINT), "came", False)


def _run(console: Console) -> int:
    """Run a command line and report what went wrong. Returns the exit status."""
    try:
        app(prog_name="glmimg")
    except GlmimgError as error:
        if isinstance(error, ModelUnfit) and _was_interrupted():
            return INTERRUPTED
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        streams.silence()
        return 1
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if status == INTERRUPTED:
            console.error(Interrupted("interrupted"))
        return status
    except Exception as error:
        if _was_interrupted():
            return INTERRUPTED
        if isinstance(error, OSError) and error.errno in streams.FULL:
            streams.silence()
            console.error(WriteError(error.filename or "standard output", error.strerror or ""))
            return WriteError.exit_code
        from glmimg.runtime.machine import is_out_of_memory

        if is_out_of_memory(error):
            hint = "Close other programs, or use --memory stream or a smaller --size."
            console.error(OutOfMemory("no memory left", hint))
            return OutOfMemory.exit_code
        if console.verbose:
            raise
        # A bug of ours: reported in one line, in full with -v.
        console.error(GlmimgError(f"{type(error).__name__}: {error}", "This is a bug in glmimg; -v shows where."))
        return 1
    return 0
