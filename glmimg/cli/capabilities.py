"""`glmimg capabilities`: what this glmimg can do, for programs; made from the knobs and the commands themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from glmimg.choice import Output
from glmimg.cli.options import Request, only, takes
from glmimg.knob import Declared, Settings, knobs
from glmimg.pictures import FORMATS
from glmimg.request import JOB, partial

BOUNDLESS = 1 << 40
"""Bounds that a reader of tables need not see."""


@takes(only(Output, "as_json"))
def capabilities(request: Request) -> None:
    """Print what this glmimg can do: commands, options, formats, presets, schemas.

    With --json all of it, for other programs; without, what can be set.

    \b
    Examples:
      glmimg capabilities --json | jq .knobs.steps
    """
    console, found = request.console, everything()
    if console.json:
        console.result("", found)
        return
    from rich.table import Table

    table = Table("knob", "takes", "default", "what it does", box=None, pad_edge=False)
    for name, knob in found["knobs"].items():
        taken = in_words(knob["schema"])
        table.add_row(name, knob["metavar"] or taken if taken == "text" else taken, knob["default_text"], knob["help"])
    console.show(table)
    formats, listed = found["formats"], ", ".join
    console.result(f"\ncommands: {listed(found['commands'])}", {})
    console.result(
        f"pictures: reads {listed(formats['pictures_read'])}; writes {listed(formats['pictures_written'])}", {}
    )
    console.result(f"presets:  {listed(found['presets'])}", {})
    console.note("--json also has the options of each command, what each preset sets, and the schemas")


def everything() -> dict[str, Any]:
    """All capabilities as printed by `--json`; docs/programs.md describes each field."""
    from glmimg import __version__
    from glmimg.cli.presets import fields_of
    from glmimg.config import MODELS
    from glmimg.preset import list_presets

    return {
        "version": __version__,
        "commands": {name: command_fields(command) for name, command in each_command()},
        "knobs": {name: fields for model in MODELS for name, fields in knob_fields(model)},
        "formats": formats(),
        "presets": {name: fields_of(preset) for name, preset in list_presets().items()},
        "schemas": schemas(),
    }


def each_command(prefix: str = "", command: Any = None) -> Iterator[tuple[str, Any]]:
    """Every command that can be run, loaded, with its whole name, such as `models pull`."""
    import typer.main

    from glmimg.cli.main import app

    command = typer.main.get_command(app) if command is None else command
    command = command.load() if hasattr(command, "load") else command
    children = getattr(command, "commands", None)
    if not children:
        yield prefix.strip(), command
        return
    for name, child in children.items():
        yield from each_command(f"{prefix} {name}", child)


def command_fields(command: Any) -> dict[str, Any]:
    """A command: what it does, its arguments, its options."""
    kinds: dict[str, list[dict[str, Any]]] = {"argument": [], "option": []}
    for parameter in command.params:
        if parameter.name not in ("help", "help_all"):
            annotation = command.callback.__annotations__.get(parameter.name, str)
            kinds[parameter.param_type_name].append(parameter_fields(parameter, annotation))
    text = " ".join(command.help.partition("\n\n")[0].split())
    return {"help": text, "arguments": kinds["argument"], "options": kinds["option"]}


def parameter_fields(parameter: Any, annotation: Any) -> dict[str, Any]:
    """An argument or option; if it is a knob, the rest is described there."""
    from pydantic import TypeAdapter
    from rich.markup import render

    text = render(parameter.help or "").plain
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name
        return {"name": name, "required": parameter.required, "several": parameter.nargs == -1, "help": text}
    flags, rare = [*parameter.opts, *parameter.secondary_opts], {"rare": True} if parameter.hidden else {}
    knob = _knobs_by_flag().get(parameter.opts[0])
    if knob is not None and knob.name == parameter.name:
        return {"flags": flags, "knob": knob.name, **rare}
    limits = {"minimum": parameter.min, "maximum": parameter.max}
    schema = value_schema(TypeAdapter(annotation).json_schema())
    schema |= {name: limit for name, limit in limits.items() if limit is not None}
    return {"flags": flags, "schema": schema, "default": parameter.default, "help": text, **rare}


def _knobs_by_flag() -> dict[str, Declared]:
    from glmimg.config import MODELS

    return {each.flag: each for model in MODELS for each in knobs(model)}


def knob_fields(model: type[Settings]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each knob of a model by name: what it takes as JSON Schema, its default, and who may set it."""
    from glmimg.settings_file import plain

    taken = partial(model).model_json_schema()["properties"]
    for each in knobs(model):
        default = plain(each.default)
        set_by = ["option", *(["environment"] if each.knob.env else []), "config"]
        yield (
            each.name,
            {
                "help": each.knob.help,
                "schema": value_schema(taken[each.name]),
                "default": default,
                "default_text": each.knob.default or ("" if default in (None, [], False) else str(default)),
                "flag": each.flag,
                "variable": each.variable if each.knob.env else None,
                "metavar": each.knob.metavar,
                "set_by": [*set_by, *(["preset", "job line"] if model in JOB else [])],
                "rare": each.knob.rare,
            },
        )


def value_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value that is given: without the null that stands for none."""
    given = [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
    return dict(given[0]) if len(given) == 1 else {"anyOf": given}


def in_words(schema: Mapping[str, Any]) -> str:
    """What a value may be, such as `number over 0 to 1` or `pad, crop`."""
    if "anyOf" in schema:
        return " or ".join(map(in_words, schema["anyOf"]))
    if words := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(words)
    if schema["type"] == "array":
        return f"several of {in_words(schema['items'])}"
    bounds = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to"}
    limits = [f"{word} {schema[name]:g}" for name, word in bounds.items() if schema.get(name, BOUNDLESS) < BOUNDLESS]
    return " ".join([{"string": "text", "boolean": "yes or no"}.get(schema["type"], schema["type"]), *limits])


def formats() -> dict[str, Any]:
    """The files that are read and written. HEIC is read where the library of its extra is installed."""
    from importlib.util import find_spec

    from glmimg.engine.batch.lines import DELIMITERS, JSON_ENDINGS
    from glmimg.metadata import ENDINGS
    from glmimg.tokens.dump import FORMAT, VERSION

    heic = ["HEIC"] if find_spec("pillow_heif") else []
    return {
        "pictures_read": [*FORMATS, *heic],
        "pictures_written": list(ENDINGS),
        "job_lists": [".txt", *JSON_ENDINGS, *DELIMITERS],
        "dump": {"format": FORMAT, "version": VERSION},
    }


def schemas() -> dict[str, Any]:
    """The JSON Schemas of what programs read and write."""
    from glmimg.engine.batch.lines import line_form
    from glmimg.preset import preset_form
    from glmimg.tokens.dump_file import SCHEMA

    forms = {"job_line": line_form(), "preset": preset_form()}
    made = {name: {**form.model_json_schema(), "title": name.replace("_", " ")} for name, form in forms.items()}
    return {"dump": json.loads(SCHEMA.read_bytes()), **made}
