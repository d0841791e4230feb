"""`glmimg inspect`: look at a token dump."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glmimg.cli import options as o
from glmimg.cli.console import Console


def inspect(
    dump_path: Annotated[Path, typer.Argument(metavar="DUMP", help="A token dump.", show_default=False)],
    json: o.Json = False,
) -> None:
    """Say what a token dump is and whether it is sound."""
    from glmimg.tokens.dump import read_dump

    console = Console(json=json)
    dump = read_dump(dump_path)
    fields = dump.model_dump(exclude={"grids": {"__all__": {"tokens"}}, "sources": {"__all__": {"grid", "embedded"}}})
    fields["grids"] = [
        {"role": grid.role, "height": grid.height, "width": grid.width, "distinct": len(set(grid.flat()))}
        for grid in dump.grids
    ]
    if json:
        console.result("", fields)
        return
    from rich.table import Table

    table = Table("field", "value", box=None, pad_edge=False, show_header=False)
    for key, value in fields.items():
        table.add_row(key, str(value))
    console.show(table)
