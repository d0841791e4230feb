"""What is said, by layers: who wins, and that every knob may be said where its model says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glmimg.choice import ModelChoice, Output, Sources
from glmimg.cli.commands import COMMANDS, LazyCommand
from glmimg.cli.options import Request
from glmimg.config import read_config
from glmimg.errors import BadConfig, UsageError
from glmimg.job import Painting, Sampling, Scene, SourceRef
from glmimg.knob import Declared, knobs
from glmimg.preset import load_preset
from glmimg.request import JOB, layer_of, merge, partial, precedence, read_environment
from glmimg.stencil import Stencil
from tests.jobs import make_job

LAYERS = ("flags", "environment", "line", "preset", "config")
WITH_FILE = ("flags", "preset", "file", "environment", "config")


@pytest.mark.parametrize("order", [LAYERS, WITH_FILE], ids=["fresh", "from a file"])
def test_precedence(order: tuple[str, ...]) -> None:
    """Each layer in its turn is the first that says something."""
    for first in range(len(order)):
        said: dict[str, Any] = {name: {"steps": place} for place, name in enumerate(order) if place >= first}
        if "file" in order:
            said.setdefault("file", {})
        assert precedence(**said) == {"steps": first}


def test_nothing_said_is_nothing() -> None:
    assert merge({"a": None}, {"a": 1, "b": 2}, {"b": 3}) == {"a": 1, "b": 2}


def test_a_job_is_a_layer() -> None:
    job = make_job("x", seed=3, guidance_window=(0.1, 0.5))
    said = layer_of(job.scene, job.sampling, job.painting)
    assert (said["prompt"], said["seed"], said["guidance_window"]) == ("x", 3, (0.1, 0.5))
    assert "dit_seed" not in said, "the second seed follows the first"
    other = make_job(seed=3, dit_seed=4)
    assert layer_of(other.scene, other.sampling, other.painting)["dit_seed"] == 4


VALUES: dict[str, Any] = {
    "size": "96x64",
    "ar_method": "jacobi",
    "guidance_window": "0.1,0.5",
    "scheduler": "heun",
    "guidance": 2.5,
    "top_p": 0.5,
    "temperature": 0.7,
    "cache": 0.5,
    "guidance_batch": True,
    "drop": "0,0,32,32",
    "mask": "0,0,32,32",
    "negative": "'SALE'",
    "dtype": "fp32",
    "memory": "stage",
    "lora": ["a", "b"],
    "compile": False,
    "fit": "crop",
}
"""A value of each knob whose form is its own; other numbers are 7, other words x, other switches on."""


def value_of(declared: Declared) -> Any:
    if declared.name in VALUES:
        return VALUES[declared.name]
    kind = str(declared.annotation)
    return 7 if "int" in kind else True if "bool" in kind else ["x"] if "tuple" in kind else "x"


JOB_KNOBS = [each for model in JOB for each in knobs(model)]
ALL_KNOBS = [each for model in (*JOB, ModelChoice, Sources, Output) for each in knobs(model)]


@pytest.mark.parametrize("declared", ALL_KNOBS, ids=lambda each: each.name)
def test_every_knob_may_stand_in_the_config_file(
    declared: Declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    value = value_of(declared)
    text = f"[{', '.join(value)}]" if isinstance(value, list) else f'"{value}"' if isinstance(value, str) else value
    path.write_text(f"{declared.name}: {str(text).lower() if isinstance(value, bool) else text}\n")
    monkeypatch.setenv("GLMIMG_CONFIG", str(path))
    assert read_config()[declared.name] == checked(declared, value)


@pytest.mark.parametrize("declared", JOB_KNOBS, ids=lambda each: each.name)
def test_every_knob_of_a_job_may_stand_in_a_preset_and_in_a_job_line(declared: Declared, tmp_path: Path) -> None:
    from glmimg.engine.batch.lines import JobLine

    value = value_of(declared)
    path = tmp_path / "mine.yaml"
    text = f'"{value}"' if isinstance(value, str) else str(value).lower()
    path.write_text(f"{declared.name}: {text}\n")
    assert load_preset(str(path)).values == {declared.name: checked(declared, value)}
    assert JobLine.of({declared.name: value}).given == {declared.name: checked(declared, value)}


@pytest.mark.parametrize("declared", [each for each in ALL_KNOBS if each.knob.env], ids=lambda each: each.name)
def test_every_knob_has_its_variable(declared: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    model = next(each for each in (*JOB, ModelChoice, Sources, Output) if declared in knobs(each))
    value = value_of(declared)
    written = value[0] if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
    monkeypatch.setenv(declared.variable, written)
    expected = checked(declared, value[:1] if isinstance(value, list) else value)
    assert read_environment(model) == {declared.name: expected}


def checked(declared: Declared, value: Any) -> Any:
    model = next(each for each in (*JOB, ModelChoice, Sources, Output) if declared in knobs(each))
    return partial(model).model_validate({declared.name: value}, strict=False).given()[declared.name]


def test_every_knob_of_a_job_stands_in_its_record() -> None:
    sizes = {"path": "a.png", "sha256": "0" * 64, "height": 64, "width": 64}
    masked = {"mask": Stencil.of("x", Image.new("1", (64, 64))), "feather": 1, "negative": "'x'"}
    drop = {"region": "x", "cells": [[False, True], [True, True]]}
    record = make_job(drop=drop, sources=(SourceRef(**sizes),), **masked).model_dump(mode="json")
    flat = {**record, **record["sampling"], "ar_method": record["sampling"]["method"], "size": record["height"]}
    flat["ar_window"] = record["sampling"]["window"]
    assert {each.name for each in JOB_KNOBS} <= set(flat)


DRAWING = ("t2i", "edit", "explore", "replay", "batch")


@pytest.mark.parametrize("name", DRAWING)
def test_every_knob_of_a_job_is_an_option_of_every_command_that_draws(name: str) -> None:
    flags = {flag for parameter in LazyCommand(name, help="").load().params for flag in parameter.opts}
    of_edits = {"--mask", "--feather"} if name in ("t2i", "explore") else set()
    for declared in [*JOB_KNOBS, *knobs(ModelChoice)]:
        assert (declared.flag in flags) != (declared.flag in of_edits), (name, declared.flag)


def test_every_command_has_the_options_of_results() -> None:
    for name in COMMANDS:
        flags = {flag for parameter in LazyCommand(name, help="").load().params for flag in parameter.opts}
        assert "--json" in flags, name


def test_a_config_file_with_an_unknown_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("stepz: 3\n")
    monkeypatch.setenv("GLMIMG_CONFIG", str(path))
    with pytest.raises(BadConfig, match="unknown key 'stepz'") as caught:
        read_config()
    assert "steps" in caught.value.hint


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMIMG_STEPS", "many")
    with pytest.raises(UsageError, match="GLMIMG_STEPS many"):
        read_environment(Painting)


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMIMG_STEPS", "9")
    monkeypatch.setenv("GLMIMG_SEED", "8")
    said = Request({"steps": 3}, ("fast",)).job()
    assert (said["steps"], said["seed"], said["scheduler"]) == (3, 8, "unipc")
    assert Request({}, ("fast",)).job(file={"steps": 4, "seed": 2})["steps"] == 12
    assert Request({}).job(file={"steps": 4})["steps"] == 4
    assert Request({}).settings(ModelChoice).model == ""
    assert {Scene, Sampling, Painting} == set(JOB)
