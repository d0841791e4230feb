"""Defaults of one's own: the config file, presets beside it, and who finds them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from platformdirs import user_config_path

import glmimg as glmimg_package
from glmimg.choice import Keeping
from glmimg.cli import completing
from glmimg.cli.options import Request
from glmimg.config import setting_names
from glmimg.home import config_path
from glmimg.knob import Settings, knobs
from tests.conftest import Outcome, run_program

Glmimg = Callable[..., Outcome]
PACKAGE = Path(glmimg_package.__file__).parent


def test_the_suite_has_a_home_of_its_own(own_home: Path) -> None:
    assert config_path().parent == own_home
    assert not own_home.exists()
    assert user_config_path("glmimg") not in (config_path(), *config_path().parents)
    elsewhere = run_program("config", "path").stdout.strip()
    assert Path(elsewhere) == config_path(), "a program of its own reads the same"


def test_the_platform_says_where_the_config_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLMIMG_CONFIG")
    assert config_path() == user_config_path("glmimg") / "config.yaml"


def test_a_default_of_ones_own_is_kept_and_read(glmimg: Glmimg, tiny: Path, tmp_path: Path, own_home: Path) -> None:
    file = own_home / "config.yaml"
    for words in (["model", tiny], ["steps", "2"], ["size", "96x64"], ["quiet", "yes"], ["lora", "a", "b"]):
        assert glmimg("config", "set", *words).out == f"{file}\n"
    assert glmimg("config", "unset", "lora").status == 0
    assert glmimg("config", "show").out == f"model: {tiny}\nsteps: 2\nsize: 96x64\nquiet: true\n"
    assert json.loads(glmimg("config", "--json").out)["size"] == "96x64"
    drawn = glmimg("t2i", "a red circle", "--seed", "1", "-o", tmp_path / "x.png", "--json")
    result = json.loads(drawn.out)
    assert (drawn.err, result["steps"], result["width"], result["height"]) == ("", 2, 96, 64)


def test_every_knob_may_have_a_default_of_ones_own(glmimg: Glmimg, own_home: Path) -> None:
    for path in PACKAGE.rglob("*.py"):
        if "(Settings):" in path.read_text():
            importlib.import_module(".".join(["glmimg", *path.relative_to(PACKAGE).with_suffix("").parts]))
    models = [model for model in Settings.__subclasses__() if model.__module__.startswith("glmimg.")]
    assert Keeping in models
    assert {each.name for model in models for each in knobs(model)} == set(setting_names())
    assert glmimg("config", "set", "keep", "10m").status == 0
    assert glmimg("config", "set", "no_worker", "yes").status == 0
    assert glmimg("config", "show").out == "keep: 600.0\nno_worker: true\n"
    assert Request({}).settings(Keeping) == Keeping(keep=600, no_worker=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# mine\nsteps: 3  # few\n# and\nseed: 4\n", "# mine\nsteps: 9\n# and\nseed: 4\n"),
        ("seed: 4\nsteps: 3", "seed: 4\nsteps: 9\n"),
        ("seed: 4", "seed: 4\nsteps: 9\n"),
        ("# nothing yet\n", "# nothing yet\nsteps: 9\n"),
        ("", "steps: 9\n"),
    ],
)
def test_setting_one_leaves_the_other_lines(glmimg: Glmimg, own_home: Path, before: str, after: str) -> None:
    own_home.mkdir()
    file = own_home / "config.yaml"
    file.write_text(before)
    assert glmimg("config", "set", "steps", "9").status == 0
    assert file.read_text() == after
    assert glmimg("config", "unset", "steps").status == 0
    assert "steps" not in file.read_text()
    assert glmimg("config", "show").status == 0, "an empty file says nothing, and is no error"


def test_what_cannot_be_a_setting_is_refused(glmimg: Glmimg, own_home: Path) -> None:
    unknown = glmimg("config", "set", "stepz", "3")
    assert (unknown.status, unknown.out) == (2, "")
    assert "Did you mean steps" in unknown.err
    assert glmimg("config", "set", "steps", "many").status == 2
    assert glmimg("config", "set", "size", "100x100").status == 2
    assert not own_home.exists()
    own_home.mkdir()
    (own_home / "config.yaml").write_text("guidence: 3\n")
    for command in (["t2i", "x"], ["config", "show"], ["config", "set", "steps", "3"]):
        refused = glmimg(*command)
        assert (refused.status, "guidance" in refused.err) == (3, True)
    assert glmimg("config", "path").out == f"{own_home / 'config.yaml'}\n", "it is found, to be mended"


def test_a_preset_of_ones_own(glmimg: Glmimg, tiny: Path, tmp_path: Path, own_home: Path) -> None:
    saved = glmimg("presets", "save", "mine", "--steps", "2", "-s", "64x64", "--template", "ink of {prompt}")
    assert saved.out == f"{own_home / 'presets' / 'mine.yaml'}\n"
    assert glmimg("presets", "mine").out == "template: ink of {prompt}\nsize: 64x64\nsteps: 2\n"
    assert "mine" in glmimg("presets").out
    drawn = glmimg("t2i", "a cat", "-p", "mine", "-m", tiny, "-o", tmp_path / "x.png", "--json", "-q")
    result = json.loads(drawn.out)
    assert (result["prompt"], result["steps"], result["width"]) == ("ink of a cat", 2, 64)
    assert glmimg("presets", "save", "mine", "--steps", "3").status == 2, "it is there"
    assert glmimg("presets", "save", "mine", "--steps", "3", "-p", "mine", "-f").status == 0
    assert json.loads(glmimg("presets", "show", "mine", "--json").out)["steps"] == 3
    assert (own_home / "presets" / "mine.yaml").read_text().startswith("template: ink of {prompt}\n")


def test_a_preset_from_a_picture(glmimg: Glmimg, tiny: Path, tmp_path: Path, own_home: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    options = ["--steps", "2", "--guidance", "2.5", "-s", "96x64", "--seed", "3", "--scheduler", "heun", "-q"]
    assert glmimg("t2i", "a cat", "-m", tiny, "-o", first, *options).status == 0
    assert glmimg("presets", "save", "that", "--from", first).status == 0
    text = (own_home / "presets" / "that.yaml").read_text()
    assert "cat" not in text
    assert "seed" not in text
    assert glmimg("t2i", "a cat", "-m", tiny, "-o", again, "-p", "that", "--seed", "3", "-q").status == 0
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    "words",
    [["poster", "--steps", "3"], ["save", "--steps", "3"], ["../x", "--steps", "3"], ["mine"], ["a.b", "--steps", "3"]],
)
def test_presets_that_cannot_be(glmimg: Glmimg, own_home: Path, words: list[str]) -> None:
    refused = glmimg("presets", "save", *words)
    assert (refused.status, refused.err.startswith("error: ")) == (2, True)
    assert glmimg("presets", "save", "mine", "--template", "no place").status == 2
    assert not own_home.exists()


def test_tab_knows_ones_own(own_home: Path) -> None:
    (own_home / "presets").mkdir(parents=True)
    (own_home / "presets" / "poolside.yaml").write_text("steps: broken\n")
    assert completing.presets("po") == ["poster", "poolside"]
    assert completing.settings("guidance_w") == ["guidance_window"]
