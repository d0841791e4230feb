"""Presets: YAML files with job fields and a prompt template, shipped or the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmimg.errors import BadPreset, OutputError, UsageError
from glmimg.home import beside, write_own
from glmimg.request import Layer, Partial, job_form, merge, problem_of
from glmimg.settings_file import near_names, read_mapping, read_text, written

PLACE = "{prompt}"
DEFAULT = "default"
FOLDER = "presets"
VERBS = ("list", "show", "save")
"""Names that are subcommands of `glmimg presets`."""


@dataclass(frozen=True)
class Preset:
    """Knobs of a job, by name, and a template: text with `{prompt}` in it, into which the prompt is put."""

    description: str
    template: str | None
    values: Mapping[str, Any]


@dataclass(frozen=True)
class PresetStack:
    """Several presets, of which later ones win, with nested templates."""

    presets: tuple[Preset, ...] = ()

    def origin(self, knob: str, names: Sequence[str]) -> str:
        """The preset, by the name it was loaded with, that decides a knob; empty if none does."""
        return ["", *(name for name, each in zip(names, self.presets, strict=True) if knob in each.values)][-1]

    @property
    def values(self) -> dict[str, Any]:
        """Their merged values."""
        return merge(*(preset.values for preset in reversed(self.presets)))

    def fill(self, prompt: str) -> str:
        """The prompt as the model gets it."""
        templates = [preset.template for preset in self.presets if preset.template]
        return reduce(lambda text, template: template.replace(PLACE, text), templates, prompt)


def load_stack(names: Sequence[str]) -> PresetStack:
    """Load the named presets, without `default`, which takes the checkpoint's place. Raises as `load_preset`."""
    return PresetStack(tuple(load_preset(name) for name in names))


def load_preset(name: str) -> Preset:
    """A preset by its name or by the path of a YAML file. Raises BadPreset (exit 3)."""
    path = _find(name)
    return _checked(path, read_mapping(path, preset_form().model_fields, BadPreset))


@cache
def default_values() -> Layer:
    """The values of the shipped preset `default`. They are read once: every job of a list asks for them."""
    return load_preset(DEFAULT).values


def list_presets() -> dict[str, Preset]:
    """The presets by name: `default`, the other shipped ones, the user's own."""
    return {name: load_preset(name) for name in preset_files()}


def read_preset_text(name: str) -> str:
    """The YAML of a preset as it is in its file. Raises BadPreset (exit 3)."""
    return read_text(_find(name), BadPreset)


def preset_files() -> dict[str, Path]:
    """The presets' files by name. The user's own override shipped ones, except `default`."""
    folder = beside(FOLDER)
    own = {path.stem: path for path in sorted(folder.glob("*.yaml")) if path.stem != DEFAULT}
    return dict(sorted(_shipped().items(), key=lambda each: (each[0] != DEFAULT, each[0]))) | own


def save_preset(name: str, fields: Mapping[str, Any], *, force: bool = False) -> Path:
    """Save a user's preset: knobs by name, `description`, `template`. Returns its file.

    raises: UsageError (exit 2) for another's name, OutputError (exit 2) for one that is taken and `force` is off;
            BadPreset (exit 3) for a template without a place for the prompt
    """
    if not re.fullmatch(r"\w[\w-]{0,63}", name) or name in (*_shipped(), *VERBS):
        reason = "is a shipped preset's name" if name in _shipped() else "cannot be a preset's name"
        raise UsageError(f"{name} {reason}", "Use another: letters, digits, - and _.")
    path = beside(FOLDER) / f"{name}.yaml"
    _checked(path, fields)
    if path.exists() and not force:
        raise OutputError(f"{path} exists already", "Overwrite it with --force, or choose another name.")
    write_own(path, written(fields))
    return path


def _checked(path: Path, values: Mapping[str, Any]) -> Preset:
    hint = "See: glmimg presets default"
    try:
        given = preset_form().model_validate(values).given()
    except (ValidationError, UsageError) as error:
        raise BadPreset(path, problem_of(error), hint) from error
    template = given.pop("template", None)
    if template is not None and PLACE not in template:
        raise BadPreset(path, f"template: it does not contain {PLACE}", hint)
    return Preset(given.pop("description"), template, given)


def _find(name: str) -> Path:
    known = _shipped() if name == DEFAULT else preset_files()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    raise BadPreset(f"preset {name!r}", "there is no such preset", near_names(name, known) or "See: glmimg presets")


def _shipped() -> dict[str, Path]:
    """Preset files inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    folder = next((folder for folder in (package / "presets", package.parent / "presets") if folder.is_dir()), None)
    if folder is None:
        raise BadPreset("presets", "are missing from this installation", "Reinstall glmimg.")
    return {path.stem: path for path in folder.glob("*.yaml")}


@cache
def preset_form() -> type[Partial]:
    """What a preset may say."""
    return job_form({"description": (str, ""), "template": (str | None, None)})
