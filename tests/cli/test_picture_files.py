"""Pictures in four formats, each with how it was made and its tokens inside."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmimg.image_io import read_provenance
from glmimg.metadata import PARAMETERS, PROVENANCE, encode, read_texts
from glmimg.tokens.dump_file import read_dump
from tests.conftest import Outcome

Run = Callable[..., Outcome]
ENDINGS = ("png", "jpg", "webp", "avif")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def draw(glmimg: Run, tiny: Path, path: Path, *more: str) -> Path:
    done = glmimg("t2i", "a 'red' circle", "-m", tiny, "-s", "64x96", "--steps", "1", "--seed", "3", "-o", path, *more)
    assert done.status == 0, done.err
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_picture_is_made_again_from_any_format(glmimg: Run, tiny: Path, tmp_path: Path, ending: str) -> None:
    reference = draw(glmimg, tiny, tmp_path / "reference.png", "--no-tokens", "--no-metadata")
    assert read_texts(reference) == {}
    path = draw(glmimg, tiny, tmp_path / f"x.{ending}", "--no-tokens", "--image-quality", "70")
    assert Image.open(path).format == {"jpg": "JPEG"}.get(ending, ending.upper())
    assert np.abs(pixels(path).astype(int) - pixels(reference)).mean() < 30
    for command in ("replay", "decode"):
        again = tmp_path / f"{command}.png"
        assert glmimg(command, path, "-o", again).status == 0
        assert np.array_equal(pixels(again), pixels(reference)), command
    moved = tmp_path / "redrawn.tokens.json"
    assert glmimg("redraw", path, "--box", "0,0,32,32", "--seed", "4", "-o", moved).status == 0
    assert read_dump(moved).target.tokens[1] == read_dump(path).target.tokens[1]


def test_the_tokens_of_a_picture_say_nothing_of_when_it_was_drawn(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    one, two = (draw(glmimg, tiny, tmp_path / f"{name}.png").read_bytes() for name in "ab")
    assert one == two


def test_changed_tokens_travel_in_the_picture(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    drawn = draw(glmimg, tiny, tmp_path / "a.png")
    changes = {
        "redraw": ["redraw", drawn, "--box", "0,0,32,32", "--seed", "4"],
        "paste": ["paste", drawn, drawn, "--box", "0,0,32,32", "--at", "32,64"],
        "encode": ["encode", drawn, "-m", tiny],
    }
    for name, command in changes.items():
        dump, picture, again = (tmp_path / f"{name}{ending}" for ending in (".tokens.json", ".png", ".again.png"))
        assert glmimg(*command, "-o", dump).status == 0, name
        assert glmimg("decode", dump, "-m", tiny, "--steps", "1", "--drop", "32,0,64,32", "-o", picture).status == 0
        dump.unlink()
        done = glmimg("replay", picture, "-o", again)
        assert done.status == 0, done.err
        assert again.read_bytes() == picture.read_bytes(), name
    refused = glmimg("replay", tmp_path / "redraw.png", "--seed", "9", "-o", tmp_path / "no.png")
    assert refused.status == 2
    assert "its tokens were changed (redraw)" in refused.err


def test_pictures_without_tokens_replay_but_do_not_decode(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    """Those of before tokens were carried."""
    drawn = draw(glmimg, tiny, tmp_path / "a.png")
    texts = {name: text for name, text in read_texts(drawn).items() if name in (PARAMETERS, PROVENANCE)}
    old = tmp_path / "old.png"
    old.write_bytes(encode(Image.open(drawn), "PNG", texts))
    assert glmimg("replay", old, "-o", tmp_path / "again.png").status == 0
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(drawn))
    refused = glmimg("decode", old, "-o", tmp_path / "no.png")
    assert refused.status == 3
    assert "carries no tokens" in refused.err
    assert "glmimg replay" in refused.err
    assert "a 'red' circle" in glmimg("inspect", old).out


def test_inspect_shows_a_picture_and_the_command_that_makes_it_again(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    drawn = draw(glmimg, tiny, tmp_path / "a.jpg", "--scheduler", "heun", "--guidance-window", "0,0.5")
    shown = glmimg("inspect", drawn)
    assert shown.status == 0
    for word in ("a 'red' circle", "heun", "0,0.5", str(tiny), "preview", "again"):
        assert word in shown.out, word
    said = json.loads(glmimg("inspect", drawn, "--json").out)
    assert said["prompt"] == said["made"]["job"]["prompt"]
    words = shlex.split(said["made"]["again"])
    assert words[:2] == ["glmimg", "t2i"]
    again = tmp_path / "again.jpg"
    assert glmimg(*words[1:-2], "-o", again, *words[-2:]).status == 0
    assert read_provenance(again).job == read_provenance(drawn).job
    assert np.array_equal(pixels(again), pixels(drawn))


@pytest.mark.parametrize(
    ("command", "name"),
    [("t2i", "x.bmp"), ("t2i", "x.tokens.json"), ("t2i", "x.v2"), ("tokens", "x.png"), ("tokens", "x.jpg")],
)
def test_other_endings_are_refused_before_work(glmimg: Run, tmp_path: Path, command: str, name: str) -> None:
    done = glmimg(command, "x", "-m", "demo", "-o", tmp_path / name)
    assert done.status == 2
    assert name in done.err
    assert "seed" not in done.err, "nothing was begun"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quality", ["0", "101", "high"])
def test_a_quality_that_cannot_be(glmimg: Run, tmp_path: Path, quality: str) -> None:
    done = glmimg("t2i", "x", "-m", "demo", "--image-quality", quality, "-o", tmp_path / "x.jpg")
    assert done.status == 2
    assert "image-quality" in done.err
