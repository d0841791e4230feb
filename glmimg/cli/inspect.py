"""`glmimg inspect`: show token dumps, and compare them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from glmimg.choice import ModelChoice, Output
from glmimg.cli.arguments import argument, option
from glmimg.cli.completing import any_file
from glmimg.cli.completing import dumps as any_dump
from glmimg.cli.options import Request, only, takes
from glmimg.errors import UsageError
from glmimg.knob import OUTPUT

DIFFERENT = 1
"""Exit status if two dumps differ in their tokens, as with `diff`."""

Dumps = Annotated[
    list[str] | None,
    argument(
        "DUMP...",
        "One dump to look at (- reads standard input), two to compare, more (or a glob) for a table.",
        any_dump,
    ),
]
told = partial(option, panel=OUTPUT)
GRIDS, LAID = "Draw the grids as a picture file.", "Draw the grid over this decoded picture."
GridPicture = Annotated[Path | None, told("--picture", metavar="PNG", text=GRIDS, complete=any_file)]
Over = Annotated[Path | None, told("--over", metavar="PICTURE", text=LAID, complete=any_file)]
AsTable = Annotated[bool, told("--table", text="Print one line per dump, even for one or two.")]
Schema = Annotated[bool, told("--schema", text="Print the JSON Schema of a dump.")]


@takes(only(ModelChoice, "model", "revision"), only(Output, "as_json", "force", "show", "quiet", "verbose"))
def inspect(
    request: Request,
    dumps: Dumps = None,
    picture: GridPicture = None,
    over: Over = None,
    table: AsTable = False,
    schema: Schema = False,
) -> None:
    """Look at a token dump, compare two, or list many.

    With two dumps, the exit status is 0 if their tokens are equal and 1 if not, as with `diff`.

    \b
    Examples:
      glmimg inspect x.tokens.json --picture grid.png
      glmimg inspect a.tokens.json b.tokens.json
      glmimg inspect "runs/*.tokens.json"
    """
    from glmimg.cli import inspecting
    from glmimg.tokens.dump_file import SCHEMA

    console = request.console
    if schema:
        console.raw(SCHEMA.read_bytes())
        return
    if picture == Path("-"):
        raise UsageError(
            "--picture cannot write to standard output, which carries the report", "For example --picture grid.png."
        )
    paths = inspecting.expand(dumps or [])
    drawing = inspecting.Drawing(picture, over, request.settings(Output).force)
    if len(paths) == 1 and not table:
        choice = request.settings(ModelChoice)
        inspecting.look(paths[0], console, drawing, choice.model or None)
        return
    if over is not None:
        raise UsageError("--over takes one dump", "Name one.")
    if len(paths) == 2 and not table:
        if not inspecting.compare(paths[0], paths[1], console, drawing):
            raise typer.Exit(DIFFERENT)
        return
    if picture is not None:
        raise UsageError("--picture takes one dump or two", "Draw them one by one.")
    inspecting.list_dumps(paths, console)
