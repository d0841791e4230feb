"""Tab completion of values. If it suggests nothing, the shell completes file names by itself."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args, get_origin

from glmimg.knob import Declared
from glmimg.text import shell_words

Completer = Callable[[str], list[str]]


def any_file(incomplete: str) -> list[str]:
    """Nothing: a shell knows its own way to files, where typer would propose what was typed for a `Path`."""
    return []


def dumps(incomplete: str) -> list[str]:
    """Token dumps that start with this text; none if a name needs quotes, which the shell adds itself."""
    found = sorted(glob.glob(f"{glob.escape(incomplete)}*.tokens.json"))  # noqa: PTH207 (as it was typed)
    return found if all(shell_words(name) == name for name in found) else []


def presets(incomplete: str) -> list[str]:
    """Names of presets, shipped ones and the user's own."""
    from glmimg.preset import preset_files

    return [name for name in preset_files() if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """Names of the settings allowed in the config file."""
    from glmimg.config import setting_names

    return [name for name in setting_names() if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """The demo and the checkpoints of the hub's cache."""
    from glmimg.runtime.hub import find_models

    return sorted({each.checkpoint.id for each in find_models() if each.checkpoint.id.startswith(incomplete)})


def one_of(choices: Sequence[str]) -> Completer:
    """Some words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in choices if word.startswith(incomplete)]

    return complete


def values_of(declared: Declared) -> Completer | None:
    """What a knob may be: its own words, or the models here. Typer looks at each completer when it builds a command."""
    words = _literals(declared.annotation)
    return one_of(words) if words else models if declared.name == "model" else None


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [word for each in get_args(annotation) for word in _literals(each)]
