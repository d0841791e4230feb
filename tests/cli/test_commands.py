"""The commands as somebody uses them, on the tiny checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Outcome, run_program

Glmimg = Callable[..., Outcome]
FEW = ["--steps", "2", "-q"]


def test_t2i_writes_picture_and_dump_and_prints_the_path(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    outcome = glmimg("t2i", "a red circle", "-m", tiny, "-o", out, "--seed", "5", *FEW)
    assert (outcome.status, outcome.out, outcome.err) == (0, f"{out}\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "out.tokens.json"]
    assert json.loads((tmp_path / "out.tokens.json").read_text())["seed"] == 5


def test_replay_is_bit_for_bit(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    first, again, bare = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    flags = ["-s", "96x64", "--dit-seed", "9", "--guidance", "2.5", "--temperature", "1.5", "--top-p", "0.9"]
    assert glmimg("t2i", 'a "red" 圆', "-m", tiny, "-o", first, *flags, *FEW).status == 0
    assert glmimg("replay", first, "-o", again, "-q").status == 0
    assert first.read_bytes() == again.read_bytes()
    assert glmimg("replay", first, "-o", bare, "--no-metadata", "--no-tokens", "-q").status == 0
    assert Image.open(bare).text == {}  # type: ignore[attr-defined]
    assert Image.open(bare).tobytes() == Image.open(first).tobytes()
    assert not (tmp_path / "c.tokens.json").exists()
    assert glmimg("replay", bare, "-o", tmp_path / "d.png").status == 3
    changed = glmimg("replay", first, "--seed", "1", "-o", tmp_path / "e.png", "--json", "-q")
    assert json.loads(changed.out)["seed"] == 1
    assert json.loads(changed.out)["dit_seed"] == 9


def test_the_picture_says_how_it_was_made(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    glmimg("t2i", "a red circle", "-m", tiny, "-o", out, "--seed", "5", "--dit-seed", "6", *FEW)
    chunks = Image.open(out).text  # type: ignore[attr-defined]
    assert chunks["parameters"].startswith(
        "a red circle\nSteps: 2, Sampler: Euler, CFG scale: 1.5, Seed: 6, Size: 128x128"
    )
    making = json.loads(chunks["glmimg"])
    assert making["job"]["prompt"] == "a red circle"
    assert (making["job"]["seed"], making["job"]["dit_seed"]) == (5, 6)
    assert set(making["versions"]) == {"glmimg", "torch", "transformers", "diffusers"}
    assert making["model"]["fingerprint"].count("-") == 1


def test_many_prompts_and_counts(glmimg: Glmimg, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompts.txt").write_text("one\n\n two \n", encoding="utf-8")
    pattern = tmp_path / "{index}-{prompt}-{seed}.png"
    outcome = glmimg(
        "t2i", "zero", "--prompts", tmp_path / "prompts.txt", "-n", "2", "--seed", "7", "-m", tiny,
        "-o", pattern, "--json", *FEW,
    )  # fmt: skip
    results = [json.loads(line) for line in outcome.out.splitlines()]
    assert [(each["prompt"], each["seed"]) for each in results] == [
        ("zero", 7), ("zero", 8), ("one", 7), ("one", 8), ("two", 7), ("two", 8),
    ]  # fmt: skip
    assert (tmp_path / "3-one-7.png").exists()
    assert len({Path(each["tokens"]).read_text().partition('"grids"')[2][:200] for each in results}) == 6
    assert all(Path(each["picture"]).exists() for each in results)


def test_a_pipe_of_prompts_and_pictures(tiny: Path, tmp_path: Path) -> None:
    done = run_program("tokens", "-", "-m", tiny, "-o", tmp_path / "{index}.tokens.json", "-q", input="one\ntwo\n")
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    decoded = run_program("decode", *done.stdout.split(), *FEW)
    assert decoded.stdout.split() == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    listed = run_program("tokens", "one", "-m", tiny, "-o", "-", "--seed", "1", "-q")
    assert json.loads(listed.stdout)["format"] == "glmimg.tokens"


def test_precedence(glmimg: Glmimg, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("steps: 1\nguidance: 3\nsize: 64x64\nseed: 11\ntemplate: 'photo of {prompt}'\n")
    monkeypatch.setenv("GLMIMG_MODEL", str(tiny))
    monkeypatch.setenv("GLMIMG_GUIDANCE", "2")
    outcome = glmimg("t2i", "x", "-p", preset, "-o", tmp_path / "x.png", "--seed", "12", "--json", "-q")
    result = json.loads(outcome.out)
    assert (result["steps"], result["guidance"], result["seed"]) == (1, 2.0, 12)
    assert (result["height"], result["prompt"]) == (64, "photo of x")


def test_presets_and_models(glmimg: Glmimg, tiny: Path) -> None:
    assert "poster" in glmimg("presets").out
    assert glmimg("presets", "poster").out.splitlines()[-1] == "size: 768x1152"
    assert json.loads(glmimg("presets", "poster", "--json").out)["size"] == "768x1152"
    assert "usable GLM-Image" in glmimg("models", "check", tiny).out
    assert json.loads(glmimg("models", "--json").out.splitlines()[0])["model"] == "demo"


def test_version_and_help(glmimg: Glmimg) -> None:
    assert glmimg("--version").out == "glmimg 0.1.0\n"
    assert "t2i" in glmimg("--help").out
    assert glmimg("t2i", "-h").status == 0
