"""`--dry-run`: everything is said, nothing is drawn, made or loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmimg.choice import ModelChoice
from glmimg.engine.expect import expect
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.runtime.resolve import resolve
from tests.conftest import Outcome

Glmimg = Callable[..., Outcome]


def planned(glmimg: Glmimg, *words: str | Path) -> dict[str, Any]:
    done = glmimg(*words, "--dry-run", "--json", "-q")
    assert (done.status, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_each_value_says_where_it_came_from(
    glmimg: Glmimg, tiny: Path, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home.mkdir()
    (own_home / "config.yaml").write_text(f"model: {tiny}\nscheduler: heun\ntop_p: 0.9\nsteps: 7\n")
    (tmp_path / "a.yaml").write_text("size: 96x64\nsteps: 3\n")
    (tmp_path / "b.yaml").write_text("steps: 4\ntop_k: 5\n")
    monkeypatch.setenv("GLMIMG_TOP_K", "6")
    presets = ["-p", tmp_path / "a.yaml", "-p", tmp_path / "b.yaml"]
    plan = planned(glmimg, "t2i", "a cat", "--guidance", "2", *presets, "-o", tmp_path / "new" / "x.png")
    settings = {name: (each["value"], each["from"]) for name, each in plan["settings"].items()}
    assert settings["guidance"] == (2.0, "--guidance")
    assert settings["top_k"] == (6, "GLMIMG_TOP_K")
    assert settings["size"] == ("96x64", f"preset {tmp_path / 'a.yaml'}")
    assert settings["steps"] == (4, f"preset {tmp_path / 'b.yaml'}")
    assert settings["scheduler"] == ("heun", str(own_home / "config.yaml"))
    assert settings["temperature"][1] == "the checkpoint"
    assert settings["seed"][1] == "random"
    assert settings["memory"] == ("auto", "the default")
    assert plan["files"] == [str(tmp_path / "new" / name) for name in ("x.png", "x.tokens.json")]
    assert plan["jobs"][0]["steps"] == 4
    assert not (tmp_path / "new").exists()


def test_what_it_says_is_what_is_drawn(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    """With a seed, the job is the one in the metadata, and the files are those that come."""
    words = [
        "t2i",
        "a cat",
        "a dog",
        "-n",
        "2",
        "--seed",
        "3",
        "--steps",
        "2",
        "-m",
        tiny,
        "-o",
        tmp_path / "{index}.png",
    ]
    plan = planned(glmimg, *words)
    drawn = [json.loads(line) for line in glmimg(*words, "--json", "-q").out.splitlines()]
    assert [{**job, **each} for job, each in zip(plan["jobs"], drawn, strict=True)] == drawn
    assert sorted(plan["files"]) == sorted(map(str, tmp_path.iterdir()))
    assert 0 < plan["memory_bytes"] < plan["memory_free_bytes"]
    assert plan["seconds"] > 0


def test_commands_that_start_from_a_file(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.png"
    assert glmimg("t2i", "a cat", "-m", tiny, "--seed", "3", "--steps", "2", "-o", first, "-q").status == 0
    before = sorted(tmp_path.iterdir())
    dump, out = tmp_path / "first.tokens.json", tmp_path / "y.tokens.json"
    here = ["-m", tiny]
    commands: list[list[str | Path]] = [
        ["replay", first, "--guidance", "3", "-o", tmp_path / "y.png"],
        ["decode", dump, "--guidance", "3", "-o", tmp_path / "y.png", *here],
        ["redraw", dump, "--box", "0,0,32,32", "--guidance", "3", "-o", out, *here],
    ]
    for words in commands:
        plan = planned(glmimg, *words)
        assert plan["settings"]["steps"] == {"value": 2, "from": "the file"}, words
        assert plan["settings"]["guidance"] == {"value": 3.0, "from": "--guidance"}, words
    for words in (
        ["tokens", "a cat", "-o", out, *here],
        ["edit", "blue", "-i", first, "-o", tmp_path / "y.png", *here],
        ["explore", "a cat", "-n", "4", "-o", tmp_path / "y.png", *here],
    ):
        assert planned(glmimg, *words)["files"], words
    assert planned(glmimg, "edit", "x", "-i", first, *here)["settings"]["size"]["from"] == "the source"
    begun = tmp_path / "begun.tokens.json"
    assert glmimg("tokens", "a cat", "--until", "preview", "-o", begun, "-q", *here).status == 0
    assert planned(glmimg, "resume", begun, "-o", out, *here)["settings"]["seed"]["from"] == "the file"
    begun.unlink()
    assert sorted(tmp_path.iterdir()) == before


def test_a_sweep_is_planned(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    plan = planned(glmimg, "t2i", "a {red|blue} cat", "--sweep", "steps=2,3", "-m", tiny, "-o", tmp_path / "x.png")
    assert plan["settings"]["steps"] == {"value": [2, 3], "from": "--sweep"}
    made = {f"x-{number}.{ending}" for number in (1, 2, 3, 4) for ending in ("png", "tokens.json")} | {"x-sheet.png"}
    assert {Path(name).name for name in plan["files"]} == made


def test_mistakes_are_found(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    for words in (["-s", "100x100"], ["-o", tmp_path / "there.png"], ["--lora", "nowhere"]):
        assert glmimg("t2i", "x", "-m", tiny, "--dry-run", *words).status != 0, words


def test_people_see_a_table(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    shown = glmimg("t2i", "a [bold]cat[/]", "-m", tiny, "-n", "20", "--seed", "3", "-o", tmp_path, "--dry-run").out
    assert "prompt       a [bold]cat[/]" in shown
    assert "3, 4, 5, 6, 7, 8, 9, 10, ... " in shown
    assert "takes    about" in shown
    assert not list(tmp_path.iterdir())


def test_no_torch_on_a_machine_without_an_accelerator(tiny: Path) -> None:
    script = (
        "import sys, atexit\nfrom glmimg.cli.main import main\n"
        "atexit.register(lambda: sys.stderr.write('HEAVY:' + ','.join({'torch', 'diffusers'} & set(sys.modules))))\n"
        f"sys.argv = ['glmimg', 't2i', 'x', '-m', {str(tiny)!r}, '--device', 'cpu', '--dry-run']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("HEAVY:"), done.stderr


def test_without_torch_the_needs_are_those_of_the_stages(tiny: Path) -> None:
    stages = CheckpointStages(resolve(str(tiny), None), ModelChoice(model=str(tiny), device="cpu"))
    for scope in (Scope(128, 128), Scope(256, 128, guided=False), Scope(128, 128, sources=((128, 128),))):
        found, known = expect(stages, scope), stages.needs(scope)
        assert (found.painter, found.device) == (known.painter, known.device)
        assert found.tokens <= known.tokens, "a batch writes several at once"
