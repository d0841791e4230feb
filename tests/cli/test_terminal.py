"""In a terminal, with a bar on the screen: results reach standard output, whatever that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.terminal import Stream, run_on_terminal

SEEDS = ("5", "6")
TWO = ["a red circle", "-n", "2", "--seed", "5", "--steps", "2", "-o", "{seed}.png"]
NAMES = [f"{seed}.png" for seed in SEEDS]


@pytest.mark.parametrize("stdout", ["pipe", "file", "terminal"])
def test_paths_reach_standard_output(tiny: Path, tmp_path: Path, stdout: Stream) -> None:
    session = run_on_terminal("t2i", *TWO, "-m", tiny, stdout=stdout, folder=tmp_path)
    assert session.status == 0, session.screen
    assert "denoising" in session.screen  # there was a bar to get past
    if stdout == "terminal":
        assert [line for line in session.lines if line in NAMES] == NAMES
    else:
        assert session.out.splitlines() == NAMES
    assert all((tmp_path / name).exists() for name in NAMES)


@pytest.mark.parametrize("stdout", ["pipe", "file", "terminal"])
def test_json_reaches_standard_output(tiny: Path, tmp_path: Path, stdout: Stream) -> None:
    session = run_on_terminal("t2i", *TWO, "-m", tiny, "--json", stdout=stdout, folder=tmp_path)
    assert session.status == 0, session.screen
    said = session.lines if stdout == "terminal" else session.out.splitlines()
    results = [json.loads(line) for line in said if line.startswith('{"picture"')]
    assert [result["picture"] for result in results] == NAMES


def test_batch_and_decode_reach_standard_output(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.txt").write_text("one\ntwo\n")
    drawn = run_on_terminal(
        "batch", "jobs.txt", "-m", tiny, "-o", "out", "--steps", "2", stdout="pipe", folder=tmp_path
    )
    assert drawn.status == 0, drawn.screen
    pictures = drawn.out.splitlines()
    assert len(pictures) == 2
    assert all((tmp_path / picture).exists() for picture in pictures)
    dumps = [picture.replace(".png", ".tokens.json") for picture in pictures]
    painted = run_on_terminal(
        "decode", *dumps, "-m", tiny, "-o", "{index}.png", "--steps", "2", "--json", stdout="pipe", folder=tmp_path
    )
    assert painted.status == 0, painted.screen
    assert [json.loads(line)["picture"] for line in painted.out.splitlines()] == ["1.png", "2.png"]
