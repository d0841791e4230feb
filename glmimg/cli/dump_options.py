"""The options for looking at dumps and changing them, once each; `options` has those that all commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glmimg.cli.options import DRAW, MODEL, OUTPUT

CHANGE = "Change a dump"

Vary = Annotated[
    int,
    typer.Option(
        "--vary",
        metavar="N",
        min=1,
        max=100_000,
        help="Pictures from each dump: decoder seeds seed, seed+1, ...; the tokens stay.",
        rich_help_panel=DRAW,
    ),
]
Drop = Annotated[
    str | None,
    typer.Option(
        "--drop",
        metavar="BOX|MASK",
        help="Paint this part without its tokens: x0,y0,x1,y1 in pixels, or a picture that is white there.",
        rich_help_panel=DRAW,
    ),
]
LogProbs = Annotated[
    bool,
    typer.Option(
        "--logprobs",
        help="Keep in the dump how likely each token was to the model, and how undecided it was.",
        rich_help_panel=OUTPUT,
    ),
]
Redraw = Annotated[
    str | None,
    typer.Option(
        "--redraw", metavar="x0,y0,x1,y1", help="Draw this box of a dump anew, in pixels.", rich_help_panel=CHANGE
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option("--mask", metavar="PNG", help="Draw anew what is white in this picture.", rich_help_panel=CHANGE),
]
KeepFrom = Annotated[
    Path | None,
    typer.Option(
        "--keep-from",
        metavar="DUMP",
        help="Take the cells that are kept in a redraw from this dump.",
        rich_help_panel=CHANGE,
    ),
]
NewPrompt = Annotated[
    str | None,
    typer.Option("--prompt", metavar="TEXT", help="Another prompt for a redraw.", rich_help_panel=CHANGE),
]
Paste = Annotated[
    Path | None,
    typer.Option(
        "--paste", metavar="DUMP", help="Copy a region of this dump (--box) into another.", rich_help_panel=CHANGE
    ),
]
PasteBox = Annotated[
    str | None,
    typer.Option(
        "--box", metavar="x0,y0,x1,y1", help="What to paste, in pixels. [default: all]", rich_help_panel=CHANGE
    ),
]
PasteAt = Annotated[
    str | None,
    typer.Option("--at", metavar="x,y", help="Where to paste it. [default: where it was]", rich_help_panel=CHANGE),
]
FromImage = Annotated[
    Path | None,
    typer.Option(
        "--from-image",
        metavar="PICTURE",
        help="The tokens of a picture, from the model's vision encoder: nothing is drawn.",
        rich_help_panel=CHANGE,
    ),
]
GridPicture = Annotated[
    Path | None,
    typer.Option(
        "--picture", metavar="PNG", help="Draw the grids into a picture file, with a legend.", rich_help_panel=OUTPUT
    ),
]
Over = Annotated[
    Path | None,
    typer.Option(
        "--over",
        metavar="PICTURE",
        help="Lay the target grid over this decoded picture; goes to --picture, else beside it as .grid.png.",
        rich_help_panel=OUTPUT,
    ),
]
AsTable = Annotated[bool, typer.Option("--table", help="A line a dump, also for one or two.", rich_help_panel=OUTPUT)]
Score = Annotated[
    bool,
    typer.Option(
        "--score",
        help="Ask the model how likely each token was; --out keeps the answers in a dump.",
        rich_help_panel=MODEL,
    ),
]
Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON Schema of a token dump.", rich_help_panel=OUTPUT)
]
