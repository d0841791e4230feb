"""A knob: one field of a frozen model that users may set, declared once.

The field gives type, range and help text; its options, environment variable, preset, config and job-line keys,
and its row in the documentation all come from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.types import FailFast as _FailFast

DRAW, SOURCES = "What to draw", "Source pictures"
MODEL, OUTPUT = "Model and machine", "Output"


@dataclass(frozen=True)
class Knob:
    """How a field is presented to users; part of its `Annotated`.

    help:    one sentence for the help page
    panel:   its section of the help page
    metavar: what its value looks like
    default: the default as text, if the field's own default does not tell
    flag:    if it is not --name-of-the-field; short: a one-letter flag, such as "-s"
    negated: whether there is a --no-... flag too
    env:     whether an environment variable sets it
    rare:    whether only --help-all shows it
    """

    help: str
    panel: str = DRAW
    metavar: str | None = None
    default: str | None = None
    flag: str | None = None
    short: str | None = None
    negated: bool = False
    env: bool = True
    rare: bool = False


class Settings(BaseModel):
    """Base of the models whose fields are knobs."""

    # defer_build: a help page reads the fields and validates nothing.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True, populate_by_name=True)


class FailFast(_FailFast):
    """Stop at the first bad item: a list of a hundred thousand faults needs one message. Hashable, for unions."""

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Declared:
    """A knob with its field. name: of the field; annotation and limits: its type and pydantic's bounds."""

    name: str
    knob: Knob
    annotation: Any
    limits: tuple[Any, ...]
    default: Any

    @property
    def flag(self) -> str:
        """--dit-seed for `dit_seed`."""
        return self.knob.flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """GLMIMG_DIT_SEED for `dit_seed`."""
        return "GLMIMG_" + self.flag.removeprefix("--").replace("-", "_").upper()


@cache
def knobs(model: type[Settings]) -> tuple[Declared, ...]:
    """Every knob of a model, in the order of its fields."""
    return tuple(
        Declared(
            *(name, knob, field.annotation),
            limits=tuple(each for each in field.metadata if each is not knob),
            default=None if field.is_required() else field.default,
        )
        for name, field in model.model_fields.items()
        for knob in field.metadata
        if isinstance(knob, Knob)
    )
