"""`glmimg inspect`: look at token dumps, and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glmimg.choice import ModelChoice, Output
from glmimg.cli.completing import any_file
from glmimg.cli.completing import dumps as dumps_here
from glmimg.cli.options import Request, only, takes
from glmimg.knob import OUTPUT

DIFFERENT = 1
"""Exit status when two dumps have other tokens, as `diff` has it."""

Dumps = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DUMP...",
        help="One dump to look at (- reads standard input), two to compare, more (or a glob) for a table.",
        show_default=False,
        autocompletion=dumps_here,
    ),
]
GridPicture = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        metavar="PNG",
        help="Draw the grids into a picture file.",
        rich_help_panel=OUTPUT,
        autocompletion=any_file,
    ),
]
Over = Annotated[
    Path | None,
    typer.Option(
        "--over",
        metavar="PICTURE",
        help="Lay the grid over this decoded picture.",
        rich_help_panel=OUTPUT,
        autocompletion=any_file,
    ),
]
AsTable = Annotated[bool, typer.Option("--table", help="A line a dump, also for one or two.", rich_help_panel=OUTPUT)]
Schema = Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a dump.", rich_help_panel=OUTPUT)]


@takes(only(ModelChoice, "model", "revision"), only(Output, "as_json", "force", "quiet", "verbose"))
def inspect(
    request: Request,
    dumps: Dumps = None,
    picture: GridPicture = None,
    over: Over = None,
    table: AsTable = False,
    schema: Schema = False,
) -> None:
    """Look at a token dump, compare two, or list many.

    Two dumps: exit status 0 when their tokens are equal, 1 when not, as `diff` has it.

    \b
    Examples:
      glmimg inspect x.tokens.json --picture grid.png
      glmimg inspect a.tokens.json b.tokens.json
      glmimg inspect "runs/*.tokens.json"
    """
    from glmimg.cli import inspecting
    from glmimg.errors import UsageError

    console = request.console
    if schema:
        inspecting.publish_schema(console)
        return
    if picture == Path("-"):
        raise UsageError("--picture takes a file, standard output has the words", "For example --picture grid.png.")
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
