"""Requested settings, merged layer by layer until the knobs of a job or of a choice are complete.

A layer maps knob names to the values that were given; `None` means not given. Layers come from flags, the
environment, a line of a job list, presets, the config file, and a picture or dump that is used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema, create_model

from glmimg.errors import UsageError
from glmimg.job import Painting, Sampling, Scene, Size, random_seed
from glmimg.knob import Declared, Settings, knobs
from glmimg.stencil import DroppedCells, Stencil
from glmimg.text import excerpt

Layer = Mapping[str, Any]
NOTHING: Layer = MappingProxyType({})

JOB = (Scene, Sampling, Painting)
"""The models whose knobs presets, job lines and replayed files may set."""


WRITTEN_AS_TEXT = (Size, Size | None, tuple[float, float] | None)
"""Types that have a form of their own where people write them, such as `768x512` and `0.1,0.8`."""


class Partial(BaseModel):
    """Base of the partial forms: knobs of several models, all of them optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    def given(self) -> dict[str, Any]:
        """The given values, by knob name."""
        return {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}


@cache
def partial(*models: type[Settings]) -> type[Partial]:
    """The partial form of some models: their knobs under their own names, with the same types and bounds."""
    fields: dict[str, Any] = {each.name: (_optional(each), None) for model in models for each in knobs(model)}
    return create_model("Given", __base__=Partial, **fields)


def job_form(more: Mapping[str, Any]) -> type[Partial]:
    """The partial form of a job, with further fields of a preset or of a line in a list: name -> (type, default)."""
    fields: dict[str, Any] = {"prompt": (str | None, None), **more}
    return create_model("Given", __base__=partial(*JOB), **fields)


def _optional(declared: Declared) -> Any:
    """The knob's type with its bounds, or None. A part of a picture is text until its size is known."""
    annotation = str if declared.annotation in (DroppedCells | None, Stencil | None) else declared.annotation
    limits = (*declared.limits, *([WithJsonSchema({"type": "string"})] if annotation in WRITTEN_AS_TEXT else []))
    bounded = Annotated[annotation, *limits] if limits else annotation
    return bounded | None


def precedence(**layers: Any) -> dict[str, Any]:
    """Merge the layers that `ranked` takes: the first one that sets a knob wins."""
    return merge(*ranked(**layers).values())


def ranked(
    *,
    flags: Layer = NOTHING,
    environment: Layer = NOTHING,
    line: Layer = NOTHING,
    preset: Layer = NOTHING,
    config: Layer = NOTHING,
    file: Layer | None = None,
) -> dict[str, Layer]:
    """The layers by name, the strongest first: flag > environment > job line > preset > config file.

    file: settings of the picture or dump that a command starts from. Then flag > preset > file; environment and
          config file only fill in what it leaves open.
    """
    if file is None:
        return {"flags": flags, "environment": environment, "line": line, "preset": preset, "config": config}
    return {"flags": flags, "preset": preset, "file": file, "environment": environment, "config": config}


def merge(*layers: Layer) -> dict[str, Any]:
    """Merge layers into one; the first one that sets a knob wins."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if value is not None:
                merged.setdefault(name, value)
    return merged


def check_values(values: Layer, *models: type[Settings]) -> dict[str, Any]:
    """Check the values of flags or keywords. Raises UsageError, SizeError (exit 2), naming the flag."""
    return _checked(values, models, lambda declared: declared.flag)


def read_environment(*models: type[Settings]) -> dict[str, Any]:
    """The values of GLMIMG_... variables for some models' knobs. Raises as `check_values`, naming the variable."""
    declared = [each for model in models for each in knobs(model) if each.knob.env]
    found = {each.name: os.environ.get(each.variable) or None for each in declared}
    return _checked(found, models, lambda declared: declared.variable)


def _checked(values: Layer, models: tuple[type[Settings], ...], call: Callable[[Declared], str]) -> dict[str, Any]:
    given = merge(values)
    if not given:
        return {}
    if given.get("seed") in (-1, "-1"):  # as in other programs of this kind
        given["seed"] = random_seed()
    try:
        return partial(*models).model_validate(given, strict=False).given()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        declared = next(each for model in models for each in knobs(model) if each.name == problem["loc"][0])
        wrong = f"{call(declared)} {given[declared.name]}: {what_is_wrong(problem)}"
        raise UsageError(wrong, problem.get("ctx", {}).get("hint", "See --help.")) from error


def problem_of(error: ValidationError | UsageError) -> str:
    """The first fault of a dump, a preset, a config file or metadata, as `where: what`."""
    if isinstance(error, UsageError):
        return f"{error.message}. {error.hint}" if error.hint else error.message
    problem = error.errors(include_url=False, include_input=False)[0]
    where, what = ".".join(excerpt(str(part)) for part in problem["loc"]), excerpt(what_is_wrong(problem))
    return f"{where}: {what}" if where else what


def what_is_wrong(problem: Any) -> str:
    """A problem pydantic found with one value, in words."""
    match problem["type"]:
        case "literal_error":
            return f"no such value; choose from {problem['ctx']['expected'].replace(chr(39), '')}"
        case "float_parsing" | "int_parsing" | "int_from_float":
            return "not a number"
        case "bool_parsing":
            return "use 1 or 0"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            return str(problem["msg"]).replace("Input should be", "it should be")
    return str(problem["msg"]).removeprefix("Value error, ")


def layer_of(*parts: Settings) -> dict[str, Any]:
    """Parts of an earlier job as a layer; a second seed only if there was one."""
    given = {each.name: getattr(part, each.name) for part in parts for each in knobs(type(part))}
    given |= next(({"prompt": part.prompt, "forms": part.forms} for part in parts if isinstance(part, Scene)), {})
    if given.get("dit_seed") == given.get("seed"):
        given.pop("dit_seed", None)
    return given
