"""`glmimg presets`: list the presets, show one, save your own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from glmimg.choice import Output
from glmimg.cli import completing
from glmimg.cli.arguments import argument, option
from glmimg.cli.options import Request, only, takes
from glmimg.errors import UsageError
from glmimg.job import Painting, Sampling, Scene
from glmimg.knob import knobs
from glmimg.preset import PLACE, Preset, list_presets, load_preset, load_stack, read_preset_text, save_preset
from glmimg.request import layer_of, merge
from glmimg.settings_file import plain


class Named(TyperGroup):
    """A group that shows the preset its first word names, if that is not one of its commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        is_name = args[0] not in self.commands and not args[0].startswith("-")
        return super().resolve_command(ctx, ["show", *args] if is_name else args)


presets = typer.Typer(cls=Named, help="Presets: list, show, save. A bare NAME shows that preset.", add_completion=False)

MADE = "Include this picture's settings, except its prompt, seeds and sources."
Name = Annotated[str, argument("NAME", "The preset, or a YAML file.", completing.presets)]
NewName = Annotated[str, argument("NAME", "Its name, as in -p NAME.")]
From = Annotated[Path | None, option("--from", metavar="PICTURE", text=MADE, complete=completing.any_file)]
Template = Annotated[str | None, option("--template", metavar="TEXT", text="A template with {prompt} in it.")]
Description = Annotated[str, option("--description", metavar="TEXT", text="What it is for.", show_default=False)]


@presets.callback(invoke_without_command=True)
@takes(only(Output, "as_json"))
def presets_default(request: Request, context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_list(request)


@presets.command("list")
@takes(only(Output, "as_json"))
def list_(request: Request) -> None:
    """List the presets, what they set and what they are for."""
    show_list(request)


@presets.command()
@takes(only(Output, "as_json"))
def show(request: Request, name: Name) -> None:
    """Show a preset as YAML."""
    preset = load_preset(name)
    request.console.result(read_preset_text(name).rstrip(), {"name": name, **fields_of(preset)})


@presets.command()
@takes(Scene, Sampling, Painting, only(Output, "as_json", "force"))
def save(
    request: Request, name: NewName, source: From = None, template: Template = None, description: Description = ""
) -> None:
    """Save your own preset, from options, other presets or a picture.

    \b
    Examples:
      glmimg presets save mine --steps 30 --size 768x1152
      glmimg presets save like-that --from out.png --template "{prompt}, in ink"
    """
    if template is not None and PLACE not in template:
        raise UsageError(f"--template {template}: it does not contain {PLACE}", f'For example "{PLACE}, in ink".')
    said, stack = request.job_layers()[0], load_stack(request.presets)
    values = as_written(merge(said, stack.values, values_of(source) if source else {}))
    template = template or stack.fill(PLACE)
    texts = {"description": description} if description else {}
    texts |= {"template": template} if template != PLACE else {}
    if not values and "template" not in texts:
        raise UsageError("nothing to save", f"Give some options, for example: glmimg presets save {name} --steps 30")
    path = save_preset(name, {**texts, **values}, force=request.settings(Output).force)
    request.console.result(str(path), {"preset": name, "file": str(path), **texts, **values})


def values_of(picture: Path) -> dict[str, Any]:
    """Settings of a picture that others can share, except defaults. Raises BadImage (exit 3)."""
    from glmimg.image_io import read_provenance

    job = read_provenance(picture).job
    said = layer_of(job.scene, job.sampling, job.painting)
    defaults = {each.name: each.default for model in (Sampling, Painting) for each in knobs(model)}
    defaults |= load_preset("default").values
    said = {name: value for name, value in said.items() if value != defaults.get(name)}
    left_out = ("prompt", "forms", "seed", "drop", "mask")
    return {name: value for name, value in said.items() if not name.endswith(left_out)}


def show_list(request: Request) -> None:
    """A table of the presets."""
    found, console = list_presets(), request.console
    if console.json:
        for each, preset in found.items():
            console.result("", {"name": each, **fields_of(preset)})
        return
    from rich.table import Table

    table = Table("preset", "sets", "for", box=None, pad_edge=False)
    for each, preset in found.items():
        values = ", ".join(f"{key} {value}" for key, value in as_written(preset.values).items())
        table.add_row(each, values, preset.description)
    console.show(table)


def fields_of(preset: Preset) -> dict[str, Any]:
    """A preset as `--json` reports it."""
    template = {} if preset.template is None else {"template": preset.template}
    return {"description": preset.description, **template, **as_written(preset.values)}


def as_written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Knobs as they are written in a preset."""
    return {name: plain(value) for name, value in values.items()}
