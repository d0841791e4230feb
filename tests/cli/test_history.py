"""What was drawn here, and pictures made again by their number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmimg.history import read_history
from tests.conftest import Outcome

Glmimg = Callable[..., Outcome]


def shown(glmimg: Glmimg, *words: str) -> list[dict[str, Any]]:
    done = glmimg("history", "--json", *words)
    assert done.status == 0
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def draw(glmimg: Glmimg, tiny: Path) -> Callable[..., Outcome]:
    return lambda *words: glmimg(*words, "-m", tiny, "-s", "64x64", "--steps", "2", "-q")


def test_what_is_not_there_is_said(glmimg: Glmimg, draw: Glmimg, tmp_path: Path) -> None:
    assert "nothing was drawn here yet" in glmimg("history").err
    assert draw("t2i", "x", "-o", tmp_path / "x.png").status == 0
    assert "no entry contains that" in glmimg("history", "--grep", "y" * 9).err
    assert "entry 1 has 1 picture\n  Choose @1." in glmimg("replay", "@1.2").err


def test_what_is_drawn_is_kept_and_replayed(glmimg: Glmimg, draw: Glmimg, tmp_path: Path, own_home: Path) -> None:
    assert shown(glmimg) == []
    first, two, again = tmp_path / "a.png", tmp_path / "{seed}.png", tmp_path / "again.png"
    assert draw("t2i", "a 'red' cat", "--seed", "3", "-o", first).status == 0
    assert draw("t2i", "a dog", "--seed", "7..8", "-o", two).status == 0
    assert glmimg("decode", tmp_path / "7.tokens.json", "-o", tmp_path / "c.png", "--dry-run").status == 0
    assert draw("tokens", "a cow", "--seed", "9", "-o", tmp_path / "d.tokens.json").status == 0
    entries = shown(glmimg)
    assert [each["number"] for each in entries] == [1, 2, 3], "what only was planned is none"
    assert entries[0]["command"].startswith("glmimg t2i 'a '\"'\"'red'\"'\"' cat' --seed 3")
    assert entries[0]["files"] == {str(tmp_path / "a.tokens.json"): 3, str(first): 3}
    assert set(entries[1]["files"].values()) == {7, 8}
    assert entries[0]["seconds"] > 0
    assert [each["number"] for each in shown(glmimg, "--grep", "A DOG")] == [2]
    (tmp_path / "list.txt").write_text("x")
    assert draw("batch", tmp_path / "list.txt", "-o", tmp_path / "out").status == 0
    assert shown(glmimg, "-n", "1")[0]["files"] == {str(tmp_path / "out"): None}
    assert [each["number"] for each in shown(glmimg, "-n", "2")] == [3, 4]
    assert "@1" in glmimg("history").out
    assert (own_home / "history.jsonl").stat().st_mode & 0o077 == 0
    assert glmimg("replay", "@1", "-o", again, "-q").status == 0
    assert again.read_bytes() == first.read_bytes()
    assert glmimg("replay", "@2.2", "-o", tmp_path / "b.png", "-q").status == 0
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "8.png").read_bytes()
    for name, says in (
        ("@2", "@2.1 to @2.2"),
        ("@3", "no known picture"),
        ("@9", "no entry 9"),
        ("@2.3", "2 pictures"),
        ("@x", "@3"),
    ):
        refused = glmimg("replay", name)
        assert (refused.status, says in refused.err) == (2, True), name
    first.unlink()
    gone = glmimg("replay", "@1")
    assert (gone.status, "glmimg t2i" in gone.err) == (3, True)


def test_one_line_of_the_config_turns_it_off(glmimg: Glmimg, draw: Glmimg, tmp_path: Path, own_home: Path) -> None:
    assert glmimg("config", "set", "history", "no").status == 0
    assert draw("tokens", "x", "-o", tmp_path / "x.tokens.json").status == 0
    assert not (own_home / "history.jsonl").exists()
    assert draw("tokens", "x", "-o", tmp_path / "y.tokens.json", "--history").status == 0
    assert len(list(read_history())) == 1


@pytest.mark.parametrize("out", ["plain.png", "{prompt}.png", "folder/", None])
def test_without_metadata_nobody_learns_the_prompt(
    draw: Glmimg, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, out: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert draw("t2i", "a secret", "--no-metadata", *([] if out is None else ["-o", out])).status == 0
    text = (own_home / "history.jsonl").read_text()
    assert "secret" not in text
    assert "t2i" not in text
    assert ("plain.png" in text) == (out == "plain.png")


def test_a_damaged_history_is_passed_over(glmimg: Glmimg, draw: Glmimg, tmp_path: Path, own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "history.jsonl").write_bytes(b'{"time": 1}\n\xff\xfe\n[' + b"[" * 5000 + b"\n")
    assert draw("tokens", "x", "-o", tmp_path / "x.tokens.json").status == 0
    assert [each["number"] for each in shown(glmimg)] == [4]


def test_a_file_name_that_is_not_utf8_is_found_again(glmimg: Glmimg, draw: Glmimg, tmp_path: Path) -> None:
    name, again = tmp_path / "a\udcff.png", tmp_path / "again.png"
    assert draw("t2i", "a cat", "--seed", "3", "-o", name).status == 0
    assert glmimg("replay", "@1", "-o", again, "-q").status == 0
    assert again.read_bytes() == name.read_bytes()
    assert glmimg("history", "--json").status == 0


def test_a_home_that_cannot_be_written_stops_nothing(
    draw: Glmimg, glmimg: Glmimg, tiny: Path, tmp_path: Path, own_home: Path
) -> None:
    own_home.write_text("a file, not a folder")
    done = glmimg("tokens", "x", "-m", tiny, "-s", "64x64", "-o", tmp_path / "x.tokens.json")
    own_home.unlink()
    assert done.status == 0
    assert "the history was not updated" in done.err
