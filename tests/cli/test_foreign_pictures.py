"""A PostScript file under a picture's name: no door hands it to Ghostscript."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from glmimg.tokens.dump_file import write_dump
from tests.conftest import run_program
from tests.dumps import dump

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With `x.png`, which is PostScript, and a Ghostscript first on the path that leaves a mark."""
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_in = programs / "gs"
    stand_in.write_text(f"#!/bin/sh\necho started >> {tmp_path / 'mark'}\nexit 1\n")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "x.png").write_bytes(POSTSCRIPT)
    write_dump(dump([[1, 2], [3, 4]]), tmp_path / "d.tokens.json")
    (tmp_path / "jobs.jsonl").write_text('{"prompt": "x", "sources": ["x.png"]}\n')
    return tmp_path


DOORS: dict[str, list[str]] = {
    "edit": ["edit", "x", "-i", "x.png", "-m", "MODEL", "-o", "out.png"],
    "tokens": ["tokens", "x", "-i", "x.png", "-m", "MODEL", "-o", "out.tokens.json"],
    "explore": ["explore", "x", "-i", "x.png", "-m", "MODEL", "-n", "2", "-o", "out.png"],
    "job lines": ["batch", "jobs.jsonl", "-m", "MODEL", "-o", "out"],
    "replay": ["replay", "x.png", "-o", "out.png"],
    "encode": ["encode", "x.png", "-m", "MODEL", "-o", "out.tokens.json"],
    "mask": ["redraw", "d.tokens.json", "--mask", "x.png", "-m", "MODEL", "-o", "out.tokens.json"],
    "drop": ["t2i", "x", "-s", "64x64", "--drop", "x.png", "-m", "MODEL", "-o", "out.png"],
    "over": ["inspect", "d.tokens.json", "--over", "x.png"],
}


def test_pillow_itself_would_start_it(folder: Path) -> None:
    """Without this the other tests could not fail."""
    script = "from PIL import Image\nImage.open('x.png').load()"
    subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, check=False)
    assert (folder / "mark").exists()


@pytest.mark.parametrize("door", DOORS)
def test_no_door_starts_a_program(door: str, folder: Path, tiny: Path) -> None:
    arguments = [str(tiny) if word == "MODEL" else word for word in DOORS[door]]
    done = run_program(*arguments, cwd=folder)
    assert done.returncode == 3, done.stderr
    assert "x.png" in done.stderr
    assert "PostScript" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "mark").exists()


def test_a_gallery_leaves_it_out(folder: Path, tiny: Path, glmimg: Callable[..., object]) -> None:
    (folder / "one.txt").write_text("a\n")
    command = [
        "batch",
        folder / "one.txt",
        "-m",
        tiny,
        "-o",
        folder / "out",
        "--steps",
        "1",
        "-s",
        "64x64",
        "--gallery",
    ]
    assert glmimg(*command).status == 0  # type: ignore[attr-defined]
    (picture,) = (folder / "out").glob("*.png")
    size = picture.stat().st_size
    picture.write_bytes(POSTSCRIPT + b" " * (size - len(POSTSCRIPT)))
    assert glmimg(*command).status == 0  # type: ignore[attr-defined]
    assert not (folder / "mark").exists()


def test_other_formats_are_read_as_before(folder: Path, tiny: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(folder / "x.webp")
    done = run_program("tokens", "x", "-i", "x.webp", "-m", tiny, "-s", "64x64", "-o", "out.tokens.json", cwd=folder)
    assert done.returncode == 0, done.stderr
