"""What the program says of itself to other programs, against what it then takes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from glmimg.cli.capabilities import each_command, everything
from glmimg.config import MODELS
from glmimg.engine.batch.lines import JobLine
from glmimg.errors import UsageError
from glmimg.knob import knobs
from glmimg.request import check_values
from tests.conftest import Outcome

Run = Callable[..., Outcome]


TOLD = everything()


def test_json_is_one_line_and_people_get_a_table(glmimg: Run) -> None:
    said = glmimg("capabilities", "--json")
    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out) == json.loads(json.dumps(TOLD))
    shown = glmimg("capabilities").out
    for words in ("steps", "integer from 1 to 1000", "pad, crop", "WxH", "models pull", "poster", ".avif"):
        assert words in shown


def test_every_option_of_every_command_is_there_and_leads_to_its_knob() -> None:
    for name, command in each_command():
        flags = {flag for each in command.params if each.param_type_name == "option" for flag in each.opts}
        options = TOLD["commands"][name]["options"]
        assert flags - {"--help", "-h", "--help-all"} == {
            flag for each in options for flag in each["flags"] if flag in flags
        }
        for each in options:
            assert each["knob"] in TOLD["knobs"] if "knob" in each else each["schema"]
    assert {"flags": ["--from"], "knob": "source"} not in TOLD["commands"]["presets save"]["options"]


NUMBERS = [
    (each, name, value)
    for model in MODELS
    for each in knobs(model)
    for name, value in TOLD["knobs"][each.name]["schema"].items()
    if name in ("minimum", "maximum", "exclusiveMinimum")
]


@pytest.mark.parametrize(("knob", "bound", "value"), NUMBERS, ids=lambda each: getattr(each, "name", str(each)))
def test_a_bound_that_is_told_is_the_one_that_holds(knob: Any, bound: str, value: float) -> None:
    beyond = value + 1 if bound == "maximum" else value - 1
    if knob.name != "seed" or beyond != -1:  # which asks for a random one
        with pytest.raises(UsageError):
            check_values({knob.name: beyond}, *MODELS)
    if bound == "exclusiveMinimum":
        with pytest.raises(UsageError):
            check_values({knob.name: value}, *MODELS)
    else:
        assert check_values({knob.name: value}, *MODELS) == {knob.name: value}


def test_the_schemas_take_what_the_program_takes() -> None:
    schemas = {name: Draft202012Validator(schema) for name, schema in TOLD["schemas"].items()}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema.schema)
    for preset in TOLD["presets"].values():
        schemas["preset"].validate(preset)
    dumps = sorted((Path(__file__).parents[1] / "data" / "dumps" / "v2").glob("*.tokens.json"))
    assert dumps
    for dump in dumps:
        schemas["dump"].validate(json.loads(dump.read_text()))
    line = {"prompt": "a cat", "size": "768x512", "guidance_window": "0.1,0.8", "cache": 0.5, "sources": ["a.png"]}
    schemas["job_line"].validate(line)
    JobLine.of(line)
    for wrong in ({"steps": 0}, {"size": [512, 512]}, {"scheduler": "eular"}, {"stepz": 4}):
        assert not schemas["job_line"].is_valid(wrong)
