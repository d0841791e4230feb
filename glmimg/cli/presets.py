"""`glmimg presets`: list the presets, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from glmimg.choice import Output
from glmimg.cli import completing
from glmimg.cli.arguments import argument
from glmimg.cli.options import Request, only, takes

if TYPE_CHECKING:
    from glmimg.preset import Preset


@takes(only(Output, "as_json"))
def presets(
    request: Request,
    name: Annotated[str | None, argument("[NAME]", "Show this preset.", completing.presets)] = None,
) -> None:
    """List the presets, or show one as YAML."""
    from glmimg.preset import list_presets, load_preset, read_preset_text

    console = request.console
    if name is not None:
        preset = load_preset(name)
        console.result(read_preset_text(name).rstrip(), {"name": name, **fields_of(preset)})
        return
    found = list_presets()
    if console.json:
        for each, preset in found.items():
            console.result("", {"name": each, **fields_of(preset)})
        return
    from rich.table import Table

    table = Table("preset", "sets", "for", box=None, pad_edge=False)
    for each, preset in found.items():
        values = ", ".join(f"{key} {plain(value)}" for key, value in preset.values.items())
        table.add_row(each, values, preset.description)
    console.show(table)


def fields_of(preset: Preset) -> dict[str, Any]:
    """A preset as `--json` reports it."""
    template = {} if preset.template is None else {"template": preset.template}
    return {
        "description": preset.description,
        **template,
        **{key: plain(value) for key, value in preset.values.items()},
    }


def plain(value: Any) -> Any:
    """A value as it stands in a preset: sizes as WxH, windows as FROM,TO."""
    from glmimg.job import Size

    if isinstance(value, Size):
        return str(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
