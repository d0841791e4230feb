"""Commands of a pipe: `-` is standard input for dumps and source pictures, standard output for results."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from glmimg.cli import streams
from tests.conftest import Outcome
from tests.terminal import run_on_terminal

Glmimg = Callable[..., Outcome]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(data: bytes) -> None:
        streams.spool_input.cache_clear()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_a_dump_goes_from_command_to_command(
    glmimg: Glmimg, given: Callable[[bytes], None], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = glmimg("tokens", "a b", "-m", tiny, "--seed", "5", "-s", "64", "--steps", "1", "-o", "-")
    dump = written.out.encode()
    given(dump)
    assert "a b" in glmimg("inspect", "-").out
    given(dump)
    assert glmimg("decode", "-", "-m", tiny).out.strip() == "a-b-5.png"
    Path("x.tokens.json").write_bytes(dump)
    assert glmimg("decode", "x.tokens.json", "-m", tiny).status == 0
    assert Path("x.png").read_bytes() == Path("a-b-5.png").read_bytes()
    given(dump[:100])
    broken = glmimg("decode", "-", "-m", tiny)
    assert (broken.status, "standard input: is not complete JSON" in broken.err) == (3, True)


def test_a_source_from_a_pipe_goes_into_the_dump(
    glmimg: Glmimg, given: Callable[[bytes], None], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    given(picture.getvalue())
    drawn = glmimg("edit", "x", "-i", "-", "-m", tiny, "--seed", "1", "--steps", "1", "-o", "e.png")
    assert drawn.status == 0, drawn.err
    streams.spool_input.cache_clear()
    assert glmimg("decode", "e.tokens.json", "-m", tiny, "-o", "again.png").status == 0
    assert Path("again.png").read_bytes() == Path("e.png").read_bytes()


def test_a_terminal_gets_no_picture_and_gives_no_dump(tiny: Path, tmp_path: Path) -> None:
    drawn = run_on_terminal("t2i", "x", "-m", tiny, "-o", "-", stdout="terminal", folder=tmp_path)
    assert (drawn.status, "write picture bytes to the terminal" in drawn.screen) == (2, True)
    read = run_on_terminal("inspect", "-", stdout="terminal", folder=tmp_path)
    assert (read.status, "which is a terminal here" in read.screen) == (2, True)
