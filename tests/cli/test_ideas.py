"""Many pictures from one line, on the tiny checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.conftest import Outcome

Glmimg = Callable[..., Outcome]
FEW = ["--steps", "2", "-q"]


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.status == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_a_sweep_of_painting_draws_the_tokens_once_and_each_picture_as_alone(
    glmimg: Glmimg, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.png"
    words = ["t2i", "a cat", "-m", tiny, "--seed", "3", "-s", "64x64", *FEW]
    *drawn, sheet = lines(glmimg(*words, "--sweep", "guidance=1,1.5,2", "-o", out, "--json"))
    assert [each["guidance"] for each in drawn] == [1.0, 1.5, 2.0]
    assert len({each["seconds"]["tokens"] for each in drawn}) == 1, "drawn once, which took them all so long"
    assert sheet == {"sheet": str(tmp_path / "x-sheet.png")}
    names = {f"x-{number}.{ending}" for number in (1, 2, 3) for ending in ("png", "tokens.json")} | {"x-sheet.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    alone = tmp_path / "alone.png"
    assert glmimg(*words, "--guidance", "2", "-o", alone).status == 0
    assert (tmp_path / "x-3.png").read_bytes() == alone.read_bytes()
    assert json.loads((tmp_path / "x-3.tokens.json").read_text())["painting"]["guidance"] == 2


def test_a_grid_and_its_sheet(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    words = ["t2i", "a {red|blue} cat", "-m", tiny, "--sweep", "guidance=1,2", "--sweep", "steps=1,2,3", "-s", "64x64"]
    drawn = lines(glmimg(*words, "-o", f"{tmp_path}/", "--json", "-q"))[:-1]
    assert [(each["prompt"], each["guidance"], each["steps"]) for each in drawn] == [
        (f"a {colour} cat", guidance, steps) for colour in ("red", "blue") for guidance in (1, 2) for steps in (1, 2, 3)
    ]
    assert len({each["seed"] for each in drawn}) == 1, "what is to be compared has one seed"
    assert len({str(json.loads(Path(each["tokens"]).read_text())["grids"]) for each in drawn}) == 2
    sheet = Image.open(tmp_path / "a-red-cat-sheet.png").convert("RGB")
    first = Image.open(drawn[0]["picture"])
    places = [
        (x, y)
        for y in range(sheet.height - 63)
        for x in range(sheet.width - 63)
        if sheet.getpixel((x, y)) == first.getpixel((0, 0))
    ]
    assert any(sheet.crop((x, y, x + 64, y + 64)).tobytes() == first.tobytes() for x, y in places)
    assert sheet.height > 4 * 64, "four rows"
    assert sheet.width > 3 * 64 + 100, "of three pictures and their name"


def test_a_picture_keeps_the_forms_of_its_prompt_and_replays(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    preset = tmp_path / "ink.yaml"
    preset.write_text("template: 'ink of {prompt}'\n")
    words = ["t2i", "a {red|blue} cat", "-p", preset, "-m", tiny, "--seed", "3", "-s", "64x64", *FEW]
    drawn = lines(glmimg(*words, "-o", tmp_path / "x.png", "--json"))
    assert drawn[1]["prompt"] == "ink of a blue cat"
    assert drawn[1]["forms"] == ["a {red|blue} cat", "a blue cat"]
    again = tmp_path / "again.png"
    assert glmimg("replay", drawn[1]["picture"], "-o", again, "-q").status == 0
    assert again.read_bytes() == Path(drawn[1]["picture"]).read_bytes()
    assert "a {red|blue} cat" in glmimg("inspect", again).out
    assert "forms" not in lines(glmimg("replay", again, "a dog", "-o", tmp_path / "dog.png", "--json", "-q"))[0]
    literal = lines(glmimg(*words, "--literal", "-o", tmp_path / "l.png", "--json"))
    assert [each["prompt"] for each in literal] == ["ink of a {red|blue} cat"]


def test_lists_of_seeds(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    words = ["tokens", "a cat", "-m", tiny, "-s", "64x64", "-q", "--json", "-o", tmp_path / "{index}.tokens.json"]
    assert [each["seed"] for each in lines(glmimg(*words, "--seed", "1,5..6"))] == [1, 5, 6]
    assert glmimg(*words, "--seed", "1..2", "-n", "2").status == 2
    assert glmimg("presets", "save", "x", "--seed", "1..2").status == 2, "a preset has one"


def test_the_same_in_job_lists(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    rows = [
        {"prompt": "a {red|blue} cat", "name": "cat", "sweep": "guidance=1,2", "size": "64x64"},
        {"prompt": "a {red|blue} dog", "literal": True, "size": "64x64"},
        {"prompt": "a {red|blue} cow", "size": "64x64"},
    ]
    jobs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    words = ["batch", jobs, "-o", out, "-m", tiny, *FEW]
    assert glmimg(*words).status == 0
    made = {path.name: json.loads(Image.open(path).text["glmimg"])["job"] for path in out.glob("*.png")}  # type: ignore[attr-defined]
    assert [made[f"cat-{number}.png"]["prompt"][2:5] for number in (1, 2, 3, 4)] == ["red", "red", "blu", "blu"]
    assert [made[f"cat-{number}.png"]["guidance"] for number in (1, 2, 3, 4)] == [1, 2, 1, 2]
    assert made["cat-1.png"]["seed"] == made["cat-2.png"]["seed"]
    assert made["cat-1.png"]["forms"] == ["a {red|blue} cat"]
    assert sorted(each["prompt"] for each in made.values())[-3:] == ["a red cat", "a red cow", "a {red|blue} dog"]
    assert len(made) == 7
    jobs.write_text(jobs.read_text().replace("{red|blue} cow", "red cow"))
    (plan,) = lines(glmimg(*words, "--dry-run", "--json"))
    assert (plan["jobs"], plan["done"]) == (6, 6), "how a prompt came to be draws no picture anew"
    many = glmimg("batch", jobs, "-o", tmp_path / "b", "-m", tiny, "--seed", "1..101", "--dry-run")
    assert (many.status, "--yes" in many.err) == (3, True)
