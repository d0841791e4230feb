"""Previews from the command line: stop after one, go on from it, paint it, choose among many."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.tiny import Sizes, build_checkpoint

Glmimg = Callable[..., Outcome]
SIZE = ["--size", "64x64"]


def grids(path: Path) -> dict[str, list[list[int]]]:
    return {grid["role"]: grid["tokens"] for grid in json.loads(path.read_text())["grids"]}


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("other"), Sizes(seed=1))


def test_stop_after_the_preview_and_go_on(glmimg: Glmimg, tiny: Path, other_model: Path, tmp_path: Path) -> None:
    begun, whole, resumed = (tmp_path / name for name in ("b.tokens.json", "w.tokens.json", "r.tokens.json"))
    common = ["a red circle", "-m", tiny, "--seed", "3", *SIZE]
    assert glmimg("tokens", *common, "-o", whole).status == 0
    assert glmimg("tokens", *common, "--until", "preview", "-o", begun).status == 0
    assert list(grids(begun)) == ["preview"]

    refused = glmimg("decode", begun, "-o", tmp_path / "x.png")
    assert refused.status == 3
    assert "--grid preview" in refused.err
    assert glmimg("decode", begun, "--grid", "preview", "--steps", "1", "-o", tmp_path / "d.png").status == 0
    assert Image.open(tmp_path / "d.png").size == (512, 512)

    assert glmimg("resume", begun, "-o", resumed).status == 0
    assert grids(resumed) == grids(whole)
    assert glmimg("resume", whole, "-o", tmp_path / "x.json").status == 3
    assert glmimg("resume", begun, "-m", other_model, "-o", tmp_path / "x.json").status == 3
    assert glmimg("resume", begun, "--size", "96x64", "-o", tmp_path / "x.json").status == 2
    assert glmimg("resume", "a cat", begun, "-o", tmp_path / "x.json").status == 3
    assert not (tmp_path / "x.json").exists()


def test_candidates_on_a_sheet_and_the_picked_one_finished(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    out, plain = tmp_path / "c.png", tmp_path / "plain.png"
    common = ["a red circle", "-m", tiny, "--steps", "1", *SIZE]
    command = ["explore", *common, "--seed", "7", "-n", "3", "-o", out]
    only_sheet = glmimg(*command)
    assert only_sheet.status == 0
    assert only_sheet.out.split() == [str(tmp_path / "c-candidates.png")]
    assert "--seed 7" in only_sheet.err
    assert "--pick 1,2" in only_sheet.err
    assert not out.exists()

    finished = glmimg(*command, "--pick", "2")
    assert finished.status == 0
    assert "already" in finished.err
    assert finished.out.split() == [str(tmp_path / "c-2.png")], "it keeps its number"
    assert glmimg("t2i", *common, "--seed", "8", "-o", plain).status == 0
    assert (tmp_path / "c-2.png").read_bytes() == plain.read_bytes(), "it is the next seed's picture, whole"
    third = glmimg(*command, "--pick", "3,1")
    assert third.out.split() == [str(tmp_path / "c-3.png"), str(tmp_path / "c-1.png")]


def test_candidates_of_an_edit_are_whole(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "s.png", tmp_path / "e.png"
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(source)
    command = ["x", "-i", source, "-m", tiny, "--seed", "7", "--steps", "1", "-o"]
    done = glmimg("explore", *command, out, "-n", "2", "--pick", "2")
    assert done.status == 0, done.err
    assert Image.open(tmp_path / "e-candidates.png").size[0] > 64
    assert glmimg("edit", *command[:5], "--seed", "8", "--steps", "1", "-o", tmp_path / "plain.png").status == 0
    assert (tmp_path / "e-2.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_the_draft_is_painted_beside_the_picture(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    out, draft = tmp_path / "p.png", tmp_path / "draft.png"
    command = ["t2i", "x", "-m", tiny, "--seed", "1", "--steps", "1", *SIZE, "-o", out, "--preview-out", draft]
    assert glmimg(*command).status == 0
    assert (Image.open(out).size, Image.open(draft).size) == ((64, 64), (512, 512))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explore", "x", "-n", "4", "--pick", "5"], "numbered from 1 to 4"),
        (["explore", "x", "-n", "4", "--pick", ","], "names no candidate"),
        (["t2i", "x", "--pick", "1"], "glmimg explore"),
        (["t2i", "x", "--candidates=4"], "glmimg explore PROMPT -n 16"),
        (["tokens", "x", "--ar-batch", "0"], "--ar-batch 0"),
        (["tokens", "x", "--ar-batch", "many"], "--ar-batch many"),
        (["tokens", "x", "--ar-window", "0"], "--ar-window"),
        (["tokens", "x", "--ar-window", "257"], "larger than the grid of 256"),
        (["tokens", "x", "--ar-method", "psychic"], "--ar-method"),
        (["tokens", "x", "--until", "tomorrow"], "--until tomorrow"),
        (["decode", "nothing.tokens.json", "--grid", "source"], "--grid source"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_loads(
    glmimg: Glmimg, tiny: Path, arguments: list[str], said: str
) -> None:
    refused = glmimg(*arguments, "-m", tiny)
    assert refused.status == 2
    assert said in refused.err
    assert "loading" not in refused.err
