"""Arguments and options of commands that are not knobs of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glmimg.choice import ModelChoice, Output, Sources
from glmimg.cli.completing import Completer, any_file, dumps, one_of
from glmimg.cli.options import only, without
from glmimg.job import Painting, Sampling
from glmimg.knob import DRAW, MODEL

FILES = only(Output, "out", "as_json", "events", "force", "quiet", "verbose")
"""Taken by every command that writes results."""

DUMPS = without(Output, "preview_out", "tokens_out", "no_tokens", "no_metadata", "image_quality", "open")
PICTURES = without(Output, "preview_out", "tokens_out", "no_tokens", "embed_sources")
BOTH = without(Output, "preview_out")
FOLDER = without(Output, "preview_out", "tokens_out", "no_tokens", "embed_sources", "events", "show", "open")
"""Results of stage 1 alone, of stage 2 alone, of both."""

MOVED_SOURCES = only(Sources, "source")
NEW_SOURCES = without(Sources, "source")
AGAIN = without(Sources, "image")
"""How a command gets its sources: named by the file it starts from, given as options, or prepared once more."""

UNMASKED, REPAINTED = (without(Painting, "mask", "feather", rare=rare) for rare in (False, True))
"""How a picture without sources is painted, and a dump as `redraw` leaves it, whose --mask is another."""

ONE_AT_A_TIME = without(ModelChoice, "ar_batch")
"""The model of a command that draws no batches."""

DRAWN_ANEW = only(Sampling, "seed", "temperature", "top_p", "top_k")

MOST = 100_000


def counted(value: int) -> int:
    """Check a count, which is at least 1."""
    if not 1 <= value <= MOST:
        raise typer.BadParameter(f"{value} is not between 1 and {MOST}")
    return value


def argument(metavar: str, text: str, complete: Completer | None = None) -> Any:
    """A positional argument."""
    return typer.Argument(metavar=metavar, help=text, show_default=False, autocompletion=complete)


def option(
    *flags: str,
    metavar: str | None = None,
    text: str,
    complete: Completer | None = None,
    panel: str = DRAW,
    **more: Any,
) -> Any:
    """An option that belongs to one command only."""
    return typer.Option(*flags, metavar=metavar, help=text, rich_help_panel=panel, autocompletion=complete, **more)


Prompts = Annotated[
    list[str] | None, argument("PROMPT", "What to draw; - reads prompts from standard input, one per line.")
]
PromptFile = Annotated[
    str | None,
    option("--prompts", metavar="FILE", text="Read prompts from a file, one per line; # starts no comment."),
]
PER_PROMPT, PER_DUMP = "Pictures per prompt; seeds count up.", "Pictures per dump; the seeds of stage 2 count up."
Count = Annotated[int, option("--count", "-n", metavar="N", text=PER_PROMPT, show_default=False, callback=counted)]
Vary = Annotated[int, option("--vary", metavar="N", text=PER_DUMP, show_default=False, callback=counted)]

PictureFile = Annotated[Path, argument("PICTURE", "A picture of glmimg.", any_file)]
AnyPicture = Annotated[str, argument("PICTURE", "A picture file, or an https address.", any_file)]
DumpFile = Annotated[Path, argument("DUMP", "A token dump; - reads standard input.", dumps)]
DumpFiles = Annotated[list[Path], argument("DUMP...", "Token dumps; - reads one from standard input.", dumps)]
DumpFrom = Annotated[Path, argument("FROM", "The dump to copy from.", dumps)]

OTHER_WEIGHTS = "Accept dumps written for other decoder weights."
AnyModel = Annotated[bool, option("--any-model", text=OTHER_WEIGHTS, panel=MODEL, hidden=True)]
NewPrompt = Annotated[str | None, option("--prompt", metavar="TEXT", text="Another prompt.")]

LAST, PAINTED = "Stop after this grid: preview or target.", "Grid to paint: target, or preview for a draft."
Until = Annotated[str, option("--until", metavar="GRID", text=LAST, complete=one_of(["preview", "target"]))]
PaintGrid = Annotated[str, option("--grid", metavar="GRID", text=PAINTED, complete=one_of(["target", "preview"]))]

BOX = "x0,y0,x1,y1"
WHITE, KEPT = "Redraw what is white in this mask.", "Take the kept cells from this dump."
RedrawBox = Annotated[str | None, option("--box", metavar=BOX, text="Redraw this box, in pixels.")]
Mask = Annotated[Path | None, option("--mask", metavar="PICTURE", text=WHITE, complete=any_file)]
KeepFrom = Annotated[Path | None, option("--keep-from", metavar="DUMP", text=KEPT, complete=dumps)]
PasteBox = Annotated[str | None, option("--box", metavar=BOX, text="What to copy, in pixels; everything if omitted.")]
PasteAt = Annotated[str | None, option("--at", metavar="x,y", text="Where to put it; the same place if omitted.")]

Candidates = Annotated[int, option("--count", "-n", metavar="N", min=2, max=1024, text="Number of candidates.")]
Pick = Annotated[
    str | None,
    option(
        "--pick",
        metavar="N,N,...",
        text="Candidates to finish, by number; without it, you are asked on a terminal.",
    ),
]
