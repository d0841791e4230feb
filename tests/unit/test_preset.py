"""Presets: the shipped ones load, later ones win, wrong ones are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glmimg.config import read_config
from glmimg.errors import BadConfig, BadPreset
from glmimg.preset import list_presets, load_preset, load_stack

SHIPPED = {"default", "fast", "quality", "poster", "wide", "square", "2k", "draft"}


def test_the_shipped_presets_load_and_say_what_they_are_for() -> None:
    presets = list_presets()
    assert set(presets) >= SHIPPED
    assert next(iter(presets)) == "default"
    assert all(preset.description for preset in presets.values())
    assert presets["default"].values["steps"] == 50
    assert presets["default"].values["guidance"] == 1.5
    assert presets["poster"].values["size"] == (1152, 768)


def test_later_presets_win_and_templates_nest(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("steps: 3\nguidance: 2\ntemplate: 'A {prompt} {x}'\n")
    (tmp_path / "b.yaml").write_text("steps: 4\ntemplate: 'B [{prompt}]'\n")
    stack = load_stack([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])
    assert (stack.values["steps"], stack.values["guidance"]) == (4, 2.0)
    assert stack.fill("cat {prompt}") == "B [A cat {prompt} {x}]"


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("stepz: 3", "unknown key 'stepz'", "steps"),
        ("flavour: 3", "unknown key 'flavour'", "Allowed keys"),
        ("steps: many", "steps", ""),
        ("steps: 0", "steps", ""),
        ("size: 100x100", "96x96", ""),
        ("template: no place", "{prompt}", ""),
        ("- a list", "key: value", ""),
        ("a: [", "not YAML", ""),
        ("steps: 3\nsteps: 4", "'steps' appears 2 times", ""),
        ("", "key: value", ""),
        ("steps: !!python/object/apply:os.system [ls]", "tags (!) are not read", ""),
        ("steps: !!int abc", "tags (!) are not read", ""),
        ("steps: " + "9" * 5000, "5000 digits", ""),
        ("steps: " + "9" * 4000, "steps: it should be less than", ""),
        ("a: &a {steps: 3}\n<<: *a", "aliases (*)", ""),
        ("<<: {steps: 3}", "unknown key '<<'", ""),
        ("a: " + "[" * 60_000, "over 10 deep", ""),
        ("".join(f"k{n}: 1\n" for n in range(6000)), "over 1000 values", ""),
        ("description: '" + "x" * 70_000 + "'", "over 64 KiB", ""),
        ("temperature: .nan", "temperature: ", ""),
        ("size: 128x7", "multiples of 32", ""),
        ("guidance_window: 1,0", "guidance-window", ""),
        ("? [a]\n: b", "not YAML", ""),
        ("guidance: 1e400", "guidance", ""),
    ],
)
def test_wrong_presets_are_named(tmp_path: Path, text: str, reason: str, hint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadPreset) as caught:
        load_preset(str(path))
    assert reason in caught.value.message
    assert str(path) in caught.value.message
    assert hint in caught.value.hint


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(BadPreset) as caught:
        load_preset("psoter")
    assert "poster" in caught.value.hint


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(BadPreset, match="UTF-8"):
        load_preset(str(tmp_path / "x.yaml"))


def test_dates_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("description: 2024-02-30\nsteps: 3\n")
    assert load_preset(str(tmp_path / "x.yaml")).description == "2024-02-30"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("/dev/zero", str(tmp_path / "pipe.yaml"), f"{tmp_path}/"):
        with pytest.raises(BadPreset, match=r"is a (pipe or a device|folder), not a file of settings"):
            load_preset(name)
    monkeypatch.setenv("GLMIMG_CONFIG", "/dev/zero")
    with pytest.raises(BadConfig, match="is a pipe or a device"):
        read_config()
