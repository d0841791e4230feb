"""`glmimg inspect`: look at token dumps, and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glmimg.cli import dump_options as d
from glmimg.cli import options as o
from glmimg.cli.console import Console

DIFFERENT = 1
"""Exit status when two dumps have other tokens, as `diff` has it."""


def inspect(
    dumps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DUMP...",
            help="One dump to look at, two to compare, more (or a glob) for a table.",
            show_default=False,
        ),
    ] = None,
    picture: d.GridPicture = None,
    over: d.Over = None,
    table: d.AsTable = False,
    score: d.Score = False,
    out: o.Out = None,
    schema: d.Schema = False,
    model: o.Model = None,
    revision: o.Revision = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Look at a token dump, compare two, or list many.

    Two dumps: exit status 0 when their tokens are equal, 1 when not, as `diff` has it.

    Examples:

    glmimg inspect x.tokens.json --picture grid.png

    glmimg inspect a.tokens.json b.tokens.json

    glmimg inspect "runs/*.tokens.json"
    """
    from glmimg.cli import inspecting
    from glmimg.errors import UsageError

    console = Console(json=json, quiet=quiet, verbose=verbose)
    if schema:
        inspecting.publish_schema(console)
        return
    if out is not None and not score:
        raise UsageError("--out keeps the scored dump", "Say --score too.")
    if picture == Path("-"):
        raise UsageError("--picture takes a file, standard output has the words", "For example --picture grid.png.")
    paths = inspecting.expand(dumps or [])
    drawing = inspecting.Drawing(picture, over, force)
    if len(paths) == 1 and not table:
        scoring = inspecting.Scoring(model, revision, device, dtype, Path(out) if out else None) if score else None
        inspecting.look(paths[0], console, drawing, model, scoring)
        return
    if over is not None or score or out is not None:
        raise UsageError("--over, --score and --out take one dump", "Name one.")
    if len(paths) == 2 and not table:
        if not inspecting.compare(paths[0], paths[1], console, drawing):
            raise typer.Exit(DIFFERENT)
        return
    if picture is not None:
        raise UsageError("--picture takes one dump or two", "Draw them one by one.")
    inspecting.list_dumps(paths, console)
