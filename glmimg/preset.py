"""Presets: YAML files that hold job fields and a prompt template, shipped or the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmimg.errors import BadPreset, UsageError
from glmimg.request import Partial, job_form, merge, problem_of
from glmimg.settings_file import read_mapping, read_text

PLACE = "{prompt}"


@dataclass(frozen=True)
class Preset:
    """Knobs of a job, by name, and a template: text with `{prompt}` in it, into which the prompt is put."""

    description: str
    template: str | None
    values: Mapping[str, Any]


@dataclass(frozen=True)
class PresetStack:
    """Several presets, later ones winning, templates applied one inside the other."""

    presets: tuple[Preset, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """What they say together."""
        return merge(*(preset.values for preset in reversed(self.presets)))

    def fill(self, prompt: str) -> str:
        """The prompt as the model gets it."""
        templates = [preset.template for preset in self.presets if preset.template]
        return reduce(lambda text, template: template.replace(PLACE, text), templates, prompt)


def load_stack(names: Sequence[str]) -> PresetStack:
    """The named presets, without `default`, which stands in for the checkpoint. Raises as `load_preset`."""
    return PresetStack(tuple(load_preset(name) for name in names))


def load_preset(name: str) -> Preset:
    """A preset by its name or by the path of a YAML file. Raises BadPreset (exit 3)."""
    path, hint = _find(name), "See: glmimg presets default"
    values = read_mapping(path, _form().model_fields, BadPreset)
    try:
        given = _form().model_validate(values).given()
    except (ValidationError, UsageError) as error:
        raise BadPreset(path, problem_of(error), hint) from error
    template = given.pop("template", None)
    if template is not None and PLACE not in template:
        raise BadPreset(path, f"template: the template has no {PLACE} in it", hint)
    return Preset(given.pop("description"), template, given)


def list_presets() -> dict[str, Preset]:
    """The shipped presets by name, `default` first."""
    return {name: load_preset(name) for name in sorted(_shipped(), key=lambda name: (name != "default", name))}


def read_preset_text(name: str) -> str:
    """The YAML of a preset as it stands in its file. Raises BadPreset (exit 3)."""
    return read_text(_find(name), BadPreset)


def _find(name: str) -> Path:
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    near = difflib.get_close_matches(name, shipped, n=3, cutoff=0.5)
    raise BadPreset(
        f"preset {name!r}",
        "there is no such preset",
        f"Did you mean {' or '.join(near)}?" if near else "See: glmimg presets",
    )


def _shipped() -> dict[str, Path]:
    """Preset files inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    folder = next((folder for folder in (package / "presets", package.parent / "presets") if folder.is_dir()), None)
    if folder is None:
        raise BadPreset("presets", "are missing from this installation", "Reinstall glmimg.")
    return {path.stem: path for path in folder.glob("*.yaml")}


@cache
def _form() -> type[Partial]:
    return job_form({"description": (str, ""), "template": (str | None, None)})
