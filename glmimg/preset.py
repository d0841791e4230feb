"""Presets: YAML files that hold job fields and a prompt template, shipped or the user's own."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError, field_validator

from glmimg.errors import BadPreset
from glmimg.job import Wish
from glmimg.tokens.dump import first_problem

PLACE = "{prompt}"


class Preset(Wish):
    """Job fields under a name.

    template: text with `{prompt}` in it, into which the prompt is put
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    description: str = ""
    template: str | None = None

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, value: str | None) -> str | None:
        if value is not None and PLACE not in value:
            raise ValueError(f"the template has no {PLACE} in it")
        return value

    def wish(self) -> Wish:
        """The job fields alone."""
        return Wish(**self.model_dump(exclude={"description", "template"}))


class PresetStack:
    """Several presets, later ones winning, templates applied one inside the other."""

    def __init__(self, presets: Sequence[Preset]) -> None:
        self.presets = presets

    @property
    def wish(self) -> Wish:
        return reduce(lambda below, preset: preset.wish().over(below), self.presets, Wish())

    def fill(self, prompt: str) -> str:
        """The prompt as the model gets it."""
        templates = [preset.template for preset in self.presets if preset.template]
        return reduce(lambda text, template: template.replace(PLACE, text), templates, prompt)


def load_stack(names: Sequence[str]) -> PresetStack:
    """`default` and the named presets over it. Raises BadPreset (exit 3)."""
    return PresetStack([load_preset("default"), *(load_preset(name) for name in names)])


def load_preset(name: str) -> Preset:
    """A preset by its name or by the path of a YAML file.

    raises: BadPreset (exit 3): unknown name (with near ones), unreadable file, unknown key, wrong type
    """
    return _parse(_find(name))


def list_presets() -> dict[str, Preset]:
    """The shipped presets by name, `default` first."""
    names = sorted(_shipped(), key=lambda name: (name != "default", name))
    return {name: load_preset(name) for name in names}


def read_preset_text(name: str) -> str:
    """The YAML of a preset as it stands in its file. Raises BadPreset (exit 3)."""
    return _read(_find(name))


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


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadPreset(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadPreset(path, "is not UTF-8 text") from error


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice: of two, YAML silently believes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in keys.most_common(1):
            if count > 1:
                raise yaml.YAMLError(f"the key {key!r} stands there {count} times")
        return super().construct_mapping(node, deep)


def _parse(path: Path) -> Preset:
    try:
        values: Any = yaml.load(_read(path), Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise BadPreset(path, f"is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise BadPreset(path, "should hold `key: value` lines")
    unknown = [key for key in values if key not in Preset.model_fields]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), Preset.model_fields, n=1)
        known = ", ".join(Preset.model_fields)
        hint = f"Did you mean {near[0]}?" if near else f"A preset may hold: {known}."
        raise BadPreset(path, f"unknown key {unknown[0]!r}", hint)
    try:
        return Preset.model_validate(values)
    except ValidationError as error:
        raise BadPreset(path, first_problem(error), "See: glmimg presets default") from error
