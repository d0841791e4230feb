"""`glmimg presets`: list the presets, or show one."""

from __future__ import annotations

from typing import Annotated

import typer

from glmimg.cli import options as o
from glmimg.cli.console import Console


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this preset.", show_default=False)] = None,
    json: o.Json = False,
) -> None:
    """List the presets, or show one as YAML."""
    from glmimg.preset import list_presets, load_preset, read_preset_text

    console = Console(json=json)
    if name is not None:
        preset = load_preset(name)
        console.result(read_preset_text(name).rstrip(), {"name": name, **preset.model_dump(exclude_none=True)})
        return
    found = list_presets()
    if json:
        for each, preset in found.items():
            console.result("", {"name": each, **preset.model_dump(exclude_none=True)})
        return
    from rich.table import Table

    table = Table("preset", "sets", "for", box=None, pad_edge=False)
    for each, preset in found.items():
        values = preset.model_dump(exclude_none=True, exclude={"description", "template"})
        table.add_row(each, ", ".join(f"{key} {value}" for key, value in values.items()), preset.description)
    console.show(table)
