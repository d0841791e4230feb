"""The config file: the user's own defaults for any knob, overridden by everything else that is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmimg.choice import Ideas, Keeping, ModelChoice, Output, Sources
from glmimg.engine.batch.settings import Cluster, Schedule
from glmimg.engine.http.settings import Serving
from glmimg.errors import BadConfig, UsageError
from glmimg.home import VARIABLE, config_path, write_own
from glmimg.knob import knobs
from glmimg.request import JOB, check_values, partial, problem_of
from glmimg.settings_file import near_names, parse_mapping, read_text, written

MODELS = (*JOB, Ideas, ModelChoice, Keeping, Sources, Output, Schedule, Cluster, Serving)
"""The models whose knobs may be set in the config file."""


def read_config() -> dict[str, Any]:
    """The settings of the config file, by knob name; empty if there is no file. Raises BadConfig (exit 3)."""
    return dict(_read(config_path()))


def config_text() -> str:
    """The text of the config file; empty if there is none. Raises BadConfig (exit 3)."""
    path = config_path()
    return read_text(path, BadConfig) if path.exists() else ""


def setting_names() -> list[str]:
    """Names of the settings allowed in the config file."""
    return [each.name for model in MODELS for each in knobs(model)]


def set_value(name: str, words: Sequence[str]) -> Path:
    """Set a knob's default in the config file. Its other lines stay unchanged.

    words:   the value; several for a knob that takes several
    returns: the file
    raises:  UsageError (exit 2) for an unknown knob or an invalid value, BadConfig (exit 3), WriteError (exit 1)
    """
    given = words[0] if len(words) == 1 else list(words)
    checked = check_values({_known(name): given}, *MODELS)
    return _change(name, written({name: checked.get(name, given)}))


def unset_value(name: str) -> Path:
    """Remove a knob from the config file. Raises as `set_value`."""
    return _change(_known(name), "")


def _known(name: str) -> str:
    if name not in (names := setting_names()):
        raise UsageError(f"there is no setting {name!r}", near_names(name, names))
    return name


def _change(name: str, line: str) -> Path:
    path, before = config_path(), config_text()
    _parse(path, before)
    after = _with_line(before, name, line)
    _parse(path, after)
    write_own(path, after)
    _read.cache_clear()
    return path


def _with_line(text: str, name: str, line: str) -> str:
    """The text of a config file with the key's line replaced, or added at the end."""
    text += "\n" if text and not text.endswith("\n") else ""
    stands = re.compile(rf"^{name}[ \t]*:.*\n(?:[ \t-].*\n)*", re.MULTILINE)
    return stands.sub(lambda _: line, text) if stands.search(text) else text + line


@cache
def _read(path: Path) -> dict[str, Any]:
    return _parse(path, read_text(path, BadConfig)) if path.exists() else {}


def _parse(path: Path, text: str) -> dict[str, Any]:
    form = partial(*MODELS)
    values = parse_mapping(path, text, form.model_fields, BadConfig, may_be_empty=True)
    try:
        return form.model_validate(values).given()
    except (ValidationError, UsageError) as error:
        raise BadConfig(path, problem_of(error), f"Fix it, or name another with {VARIABLE}.") from error
