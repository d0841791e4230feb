"""What commands take beside the knobs of the models: arguments, and options that say what this command does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glmimg.choice import ModelChoice, Output, Sources
from glmimg.cli.completing import Completer, any_file, dumps, one_of
from glmimg.cli.options import only, without
from glmimg.job import Sampling
from glmimg.knob import DRAW, MODEL

FILES = only(Output, "out", "as_json", "force", "quiet", "verbose")
"""What every command takes that writes results."""

DUMPS = without(Output, "preview_out", "tokens_out", "no_tokens", "no_metadata", "image_quality")
PICTURES = without(Output, "preview_out", "tokens_out", "no_tokens", "embed_sources")
BOTH = without(Output, "preview_out")
FOLDER = without(Output, "preview_out", "tokens_out", "no_tokens", "embed_sources")
"""Results of stage 1 alone, of stage 2 alone, of both."""

MOVED_SOURCES = only(Sources, "source")
NEW_SOURCES = without(Sources, "source")
AGAIN = without(Sources, "image")
"""Sources as a command meets them: named by a file it starts from, given on the line, or prepared once more."""

ONE_AT_A_TIME = without(ModelChoice, "ar_batch")
"""The model of a command that has no rows to draw at once."""

DRAWN_ANEW = only(Sampling, "seed", "temperature", "top_p", "top_k")

MOST = 100_000


def counted(value: int) -> int:
    """How many, from 1 on."""
    if not 1 <= value <= MOST:
        raise typer.BadParameter(f"{value} is not within 1 and {MOST}")
    return value


def _file(metavar: str, text: str, completer: Completer) -> Any:
    return typer.Argument(metavar=metavar, help=text, show_default=False, autocompletion=completer)


Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT",
        help="What to draw; - reads prompts from standard input, one a line.",
        show_default=False,
    ),
]
PromptFile = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="Read prompts from a file, one a line; a # is part of its prompt.",
        rich_help_panel=DRAW,
    ),
]
Count = Annotated[
    int,
    typer.Option(
        "--count",
        "-n",
        metavar="N",
        help="Pictures a prompt: seeds seed, seed+1, ...",
        rich_help_panel=DRAW,
        show_default=False,
        callback=counted,
    ),
]
PictureFile = Annotated[Path, _file("PICTURE", "A picture of glmimg.", any_file)]
DumpFile = Annotated[Path, _file("DUMP", "A token dump; - reads standard input.", dumps)]
DumpFiles = Annotated[list[Path], _file("DUMP...", "Token dumps; - reads one from standard input.", dumps)]
DumpFrom = Annotated[Path, _file("FROM", "The dump to copy from.", dumps)]
AnyModel = Annotated[
    bool,
    typer.Option(
        "--any-model",
        help="Also dumps that were written for other decoder weights.",
        rich_help_panel=MODEL,
        hidden=True,
    ),
]
Until = Annotated[
    str,
    typer.Option(
        "--until",
        metavar="GRID",
        help="Stop after this grid: preview or target.",
        rich_help_panel=DRAW,
        autocompletion=one_of(["preview", "target"]),
    ),
]
PaintGrid = Annotated[
    str,
    typer.Option(
        "--grid",
        metavar="GRID",
        help="Grid to paint: target, or preview, a draft.",
        rich_help_panel=DRAW,
        autocompletion=one_of(["target", "preview"]),
    ),
]
Vary = Annotated[
    int,
    typer.Option(
        "--vary",
        metavar="N",
        help="Pictures a dump: stage 2 seeds seed, seed+1, ...",
        rich_help_panel=DRAW,
        show_default=False,
        callback=counted,
    ),
]
AnyPicture = Annotated[Path, _file("PICTURE", "A picture file.", any_file)]
NewPrompt = Annotated[
    str | None, typer.Option("--prompt", metavar="TEXT", help="Another prompt.", rich_help_panel=DRAW)
]
RedrawBox = Annotated[
    str | None,
    typer.Option("--box", metavar="x0,y0,x1,y1", help="Draw this box anew, in pixels.", rich_help_panel=DRAW),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="PICTURE",
        help="Draw anew what is white in this picture.",
        rich_help_panel=DRAW,
        autocompletion=any_file,
    ),
]
KeepFrom = Annotated[
    Path | None,
    typer.Option(
        "--keep-from",
        metavar="DUMP",
        help="Take the cells that are kept from this dump.",
        rich_help_panel=DRAW,
        autocompletion=dumps,
    ),
]
PasteBox = Annotated[
    str | None,
    typer.Option("--box", metavar="x0,y0,x1,y1", help="What to copy, in pixels; else all.", rich_help_panel=DRAW),
]
PasteAt = Annotated[
    str | None,
    typer.Option("--at", metavar="x,y", help="Where it goes; else where it was.", rich_help_panel=DRAW),
]
Candidates = Annotated[
    int,
    typer.Option("--count", "-n", metavar="N", min=2, max=1024, help="How many candidates.", rich_help_panel=DRAW),
]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        metavar="N,N,...",
        help="Candidates to finish, numbered as on the sheet; else a terminal is asked.",
        rich_help_panel=DRAW,
    ),
]
