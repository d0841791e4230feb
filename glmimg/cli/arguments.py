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

FILES = only(Output, "out", "as_json", "events", "force", "quiet", "verbose")
"""What every command takes that writes results."""

DUMPS = without(Output, "preview_out", "tokens_out", "no_tokens", "no_metadata", "image_quality")
PICTURES = without(Output, "preview_out", "tokens_out", "no_tokens", "embed_sources")
BOTH = without(Output, "preview_out")
FOLDER = without(Output, "preview_out", "tokens_out", "no_tokens", "embed_sources", "events")
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


def argument(metavar: str, text: str, complete: Completer | None = None) -> Any:
    """What stands on the line without a name."""
    return typer.Argument(metavar=metavar, help=text, show_default=False, autocompletion=complete)


def option(
    *flags: str,
    metavar: str | None = None,
    text: str,
    complete: Completer | None = None,
    panel: str = DRAW,
    **more: Any,
) -> Any:
    """What a command alone is told by a flag."""
    return typer.Option(*flags, metavar=metavar, help=text, rich_help_panel=panel, autocompletion=complete, **more)


Prompts = Annotated[
    list[str] | None, argument("PROMPT", "What to draw; - reads prompts from standard input, one a line.")
]
PromptFile = Annotated[
    str | None,
    option("--prompts", metavar="FILE", text="Read prompts from a file, one a line; a # is part of its prompt."),
]
PER_PROMPT, PER_DUMP = "Pictures a prompt: seeds seed, seed+1, ...", "Pictures a dump: stage 2 seeds seed, seed+1, ..."
Count = Annotated[int, option("--count", "-n", metavar="N", text=PER_PROMPT, show_default=False, callback=counted)]
Vary = Annotated[int, option("--vary", metavar="N", text=PER_DUMP, show_default=False, callback=counted)]

PictureFile = Annotated[Path, argument("PICTURE", "A picture of glmimg.", any_file)]
AnyPicture = Annotated[Path, argument("PICTURE", "A picture file.", any_file)]
DumpFile = Annotated[Path, argument("DUMP", "A token dump; - reads standard input.", dumps)]
DumpFiles = Annotated[list[Path], argument("DUMP...", "Token dumps; - reads one from standard input.", dumps)]
DumpFrom = Annotated[Path, argument("FROM", "The dump to copy from.", dumps)]

OTHER_WEIGHTS = "Also dumps that were written for other decoder weights."
AnyModel = Annotated[bool, option("--any-model", text=OTHER_WEIGHTS, panel=MODEL, hidden=True)]
NewPrompt = Annotated[str | None, option("--prompt", metavar="TEXT", text="Another prompt.")]

LAST, PAINTED = "Stop after this grid: preview or target.", "Grid to paint: target, or preview, a draft."
Until = Annotated[str, option("--until", metavar="GRID", text=LAST, complete=one_of(["preview", "target"]))]
PaintGrid = Annotated[str, option("--grid", metavar="GRID", text=PAINTED, complete=one_of(["target", "preview"]))]

BOX = "x0,y0,x1,y1"
WHITE, KEPT = "Draw anew what is white in this picture.", "Take the cells that are kept from this dump."
RedrawBox = Annotated[str | None, option("--box", metavar=BOX, text="Draw this box anew, in pixels.")]
Mask = Annotated[Path | None, option("--mask", metavar="PICTURE", text=WHITE, complete=any_file)]
KeepFrom = Annotated[Path | None, option("--keep-from", metavar="DUMP", text=KEPT, complete=dumps)]
PasteBox = Annotated[str | None, option("--box", metavar=BOX, text="What to copy, in pixels; else all.")]
PasteAt = Annotated[str | None, option("--at", metavar="x,y", text="Where it goes; else where it was.")]

Candidates = Annotated[int, option("--count", "-n", metavar="N", min=2, max=1024, text="How many candidates.")]
Pick = Annotated[
    str | None,
    option(
        "--pick",
        metavar="N,N,...",
        text="Candidates to finish, by their numbers on the sheet; a terminal is asked otherwise.",
    ),
]
