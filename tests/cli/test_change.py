"""The commands that change dumps, and `decode` of what they make: the ways in, and every way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from glmimg.tokens.dump_file import read_dump, write_dump
from tests.conftest import Outcome
from tests.dumps import dump

Run = Callable[..., Outcome]


@pytest.fixture
def drawn(glmimg: Run, tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "x.tokens.json"
    done = glmimg("tokens", "a red circle", "-m", tiny, "-s", "64x64", "--seed", "3", "-o", path)
    assert done.status == 0, done.err
    return path


def test_redraw_score_and_decode(glmimg: Run, tiny: Path, drawn: Path) -> None:
    folder = drawn.parent
    shown = glmimg("score", drawn, "--json")
    assert shown.status == 0, shown.err
    assert json.loads(shown.out)["grids"][1]["surprise"]["perplexity"] > 1
    kept = glmimg("score", drawn, "-o", folder / "scored.tokens.json")
    assert kept.status == 0, kept.err
    scored = read_dump(folder / "scored.tokens.json")
    assert all(grid.logprobs and grid.entropy for grid in scored.grids)
    assert [grid.tokens for grid in scored.grids] == [grid.tokens for grid in read_dump(drawn).grids]

    y = folder / "y.tokens.json"
    done = glmimg("redraw", "--box", "32,0,64,32", drawn, "--prompt", "a blue one", "--seed", "9", "-o", y, "--json")
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert (said["method"], said["prompt"], said["parents"][0]["role"]) == ("redraw", "a blue one", "base")
    assert said["parents"][0]["cells"] == 3
    old, new = scored.target.tokens, read_dump(y).target.tokens
    assert [old[0][0], *old[1]] == [new[0][0], *new[1]]
    assert glmimg("inspect", y, "-m", tiny).status == 0

    mask = folder / "mask.png"
    Image.new("1", (2, 2), 1).save(mask)
    kept = folder / "kept.tokens.json"
    done = glmimg("redraw", "--mask", mask, "--keep-from", y, drawn, "--seed", "9", "-o", kept)
    assert done.status == 0, done.err
    assert [parent.role for parent in read_dump(kept).parents] == ["base", "kept"]

    done = glmimg("decode", y, "--steps", "2", "--vary", "2", "--drop", "0,0,32,32")
    assert done.status == 0, done.err
    one, two = (folder / f"y-{seed}.png" for seed in (9, 10))
    assert one.read_bytes() != two.read_bytes()
    again = glmimg("replay", one, "-o", folder / "again.png")
    assert again.status == 0, again.err
    assert (folder / "again.png").read_bytes() == one.read_bytes()
    refused = glmimg("replay", one, "--temperature", "1", "-o", folder / "other.png")
    assert refused.status == 2
    assert "its tokens were changed (redraw) and it was painted without the tokens of 0,0,32,32" in refused.err


def test_a_picture_s_own_tokens(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.linear_gradient("L").resize((90, 60)).convert("RGBA").save(picture)
    done = glmimg("encode", picture, "-m", tiny)
    assert done.status == 0, done.err
    read = read_dump(tmp_path / "a.tokens.json")
    assert (read.width, read.height, read.sampling.method, read.prompt) == (96, 64, "from-image", "")
    assert [parent.role for parent in read.parents] == ["picture"]
    assert len(set(read.target.flat())) > 1
    assert glmimg("inspect", tmp_path / "a.tokens.json", "-m", tiny).status == 0
    assert glmimg("decode", tmp_path / "a.tokens.json", "--steps", "1", "-o", tmp_path / "b.png").status == 0


WRONG = {
    "box outside": (2, "outside", ["redraw", "--box", "0,0,65,64", "X"]),
    "empty box": (2, "empty", ["redraw", "--box", "8,8,8,64", "X"]),
    "no box": (2, "x0,y0,x1,y1", ["redraw", "--box", "all", "X"]),
    "neither": (2, "neither of them says", ["redraw", "--keep-from", "X", "X"]),
    "mask of another size": (3, "32x32", ["redraw", "--mask", "SMALL", "X"]),
    "no mask": (3, "cannot be read", ["redraw", "--mask", "NONE", "X"]),
    "no parent": (3, "cannot be read", ["redraw", "--box", "0,0,32,32", "--keep-from", "NONE", "X"]),
    "no base": (3, "cannot be read", ["redraw", "--box", "0,0,32,32", "NONE"]),
    "a prompt for a dump": (3, "cannot be read", ["redraw", "--box", "0,0,32,32", "a red circle"]),
    "two bases": (2, "unexpected extra", ["redraw", "--box", "0,0,32,32", "X", "X"]),
    "parent of another size": (3, "differ in shape", ["redraw", "--box", "0,0,32,32", "--keep-from", "WIDE", "X"]),
    "parent of another model": (3, "mix dumps", ["redraw", "--box", "0,0,32,32", "--keep-from", "OTHER", "X"]),
    "paste over the edge": (2, "beyond the edge", ["paste", "X", "X", "--box", "0,0,64,64", "--at", "32,0"]),
    "paste from nothing": (3, "cannot be read", ["paste", "X", "NONE"]),
    "paste of another model": (3, "mix dumps", ["paste", "X", "OTHER"]),
    "both": (2, "both", ["redraw", "--box", "0,0,32,32", "--mask", "SMALL", "X"]),
    "the first edition's redraw": (2, "glmimg redraw DUMP --box", ["tokens", "--redraw", "0,0,32,32", "X"]),
    "the first edition's paste": (2, "glmimg paste DUMP FROM", ["tokens", "--paste", "X", "X"]),
    "the first edition's box": (2, "glmimg paste DUMP FROM --box", ["tokens", "--box=0,0,32,32", "a red circle"]),
    "a size": (2, "-s", ["redraw", "--box", "0,0,32,32", "-s", "64x64", "X"]),
    "no picture": (3, "cannot be read", ["encode", "NONE"]),
    "a text for a picture": (3, "not a picture", ["encode", "X"]),
}  # fmt: skip


def test_whatever_is_wrong_is_said_and_nothing_is_written(glmimg: Run, tmp_path: Path) -> None:
    other = dump([[1]]).model.model_copy(update={"fingerprint": "cccc-dddd"})
    paths = {name: tmp_path / f"{name}.json" for name in ("X", "WIDE", "OTHER", "NONE")} | {"SMALL": tmp_path / "s.png"}
    write_dump(dump([[1, 2], [3, 4]]), paths["X"])
    write_dump(dump([[1, 2, 3], [3, 4, 5]]), paths["WIDE"])
    write_dump(dump([[1, 2], [3, 4]], model=other), paths["OTHER"])
    Image.new("L", (32, 32), 255).save(paths["SMALL"])
    before = set(tmp_path.iterdir())
    for kind, (status, reason, arguments) in WRONG.items():
        said = [paths.get(argument, argument) for argument in arguments]
        model = [] if said[0] == "paste" else ["-m", tmp_path]
        done = glmimg(*said, "-o", tmp_path / "out.tokens.json", *model)
        assert done.status == status, f"{kind}: {done.err}"
        assert reason in done.err, kind
        assert "Traceback" not in done.err
        assert set(tmp_path.iterdir()) == before, kind


def test_decode_with_a_mask_of_another_size(glmimg: Run, tiny: Path, drawn: Path) -> None:
    Image.new("L", (32, 32), 255).save(drawn.parent / "s.png")
    for drop, status in [(str(drawn.parent / "s.png"), 3), ("0,0,65,1", 2), ("nothing.png", 3)]:
        done = glmimg("decode", drawn, "--drop", drop, "-o", drawn.parent / "out.png")
        assert done.status == status, done.err
        assert not (drawn.parent / "out.png").exists()
