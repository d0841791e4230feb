"""`--show` and `--open`: pictures on a real terminal, sharp, in half blocks or in letters, and in a viewer."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from select import select

import pytest
from PIL import Image
from rich.console import Console as RichConsole

from glmimg.cli.console import Console
from glmimg.cli.progress import ProgressLine
from glmimg.cli.showing import fitted, of_tokens, on_terminal, open_with_desktop
from glmimg.events import PreviewWritten
from glmimg.tokens.dump_file import read_dump
from tests.conftest import Outcome
from tests.terminal import Stream, open_terminal, run_on_terminal

Run = Callable[..., Outcome]
DUMP = Path(__file__).parents[1] / "data" / "dumps" / "v2" / "plain.tokens.json"
SIXEL_QUERY, SIXEL, NO_SIXEL = re.compile(rb"\x1b\[c"), b"\x1b[?62;4;22c", b"\x1b[?62;22c"
KITTY_QUERY, KITTY = re.compile(rb"\x1b_Gi=[^\x1b]*a=q[^\x1b]*\x1b"), b"\x1b_Gi=1;OK\x1b\\"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A red picture with a blue right half."""
    image = Image.new("RGB", (128, 64), (255, 0, 0))
    image.paste((0, 0, 255), (64, 0, 128, 64))
    image.save(tmp_path / "x.png")
    return tmp_path / "x.png"


def drawn(image: Image.Image, *, width: int = 40, height: int = 30, no_color: bool = False) -> str:
    """What a terminal of this size without graphics is sent."""
    stream = io.StringIO()
    console = RichConsole(
        file=stream, force_terminal=True, color_system="truecolor", width=width, height=height, no_color=no_color
    )
    console.print(on_terminal(image, console))
    return stream.getvalue()


def test_half_blocks_fit_the_terminal_and_have_the_colours(picture: Path) -> None:
    with Image.open(picture) as image:
        lines = drawn(image).splitlines()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert {len(line) for line in plain} == {39}
    assert len(plain) <= 15
    assert lines[4].startswith("\x1b[38;2;255;0;0;48;2;255;0;0m")
    assert "38;2;0;0;255" in lines[4].split("m")[-3]
    for width, height in ((1, 1), (5, 200), (500, 4)):
        sent = re.sub(r"\x1b\[[0-9;]*m", "", drawn(Image.new("RGB", (9, 3)), width=width, height=height))
        assert all(len(line) <= width for line in sent.splitlines())


def test_without_colour_it_is_letters() -> None:
    image = Image.new("RGB", (64, 64))
    image.paste((255, 255, 255), (32, 0, 64, 64))
    said = drawn(image, no_color=True)
    assert "\x1b" not in said
    assert said.splitlines()[3] == " " * 15 + "@" * 15


def test_grids_are_enlarged_by_whole_numbers() -> None:
    grid = Image.new("RGB", (16, 8))
    assert fitted(grid, 99, 30).size == (48, 24)
    assert fitted(grid, 8, 30).size == (8, 4)
    dump = read_dump(DUMP)
    shape = dump.target.shape
    assert of_tokens([dump, dump]).size == (2 * shape.columns + 1, shape.rows)


@pytest.mark.parametrize("stdout", ["terminal", "pipe"])
def test_inspect_shows_it_on_standard_error(picture: Path, stdout: Stream) -> None:
    session = run_on_terminal("inspect", DUMP, "--show", stdout=stdout, folder=picture.parent)
    assert session.status == 0, session.screen
    assert sum("▀" in line for line in session.lines) >= 8
    if stdout == "pipe":
        assert "▀" not in session.out
        assert "\x1b" not in session.out


def test_nothing_is_shown_in_a_pipe(glmimg: Run) -> None:
    shown = glmimg("inspect", DUMP, "--show")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out == glmimg("inspect", DUMP).out


def answered(folder: Path, sixel: bytes, kitty: bytes, *, interrupt: bool = False) -> tuple[int, bytes, bool]:
    """Inspect on a terminal with these answers. Returns status, screen, and whether its mode is as before."""
    master, slave = open_terminal()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [sys.executable, "-m", "glmimg", "inspect", str(DUMP), "--show"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
        cwd=folder,
        env={**{name: value for name, value in os.environ.items() if name != "NO_COLOR"}, "TERM": "xterm-256color"},
    )
    screen, unanswered = b"", {SIXEL_QUERY, KITTY_QUERY}
    while process.poll() is None or select([master], [], [], 0)[0]:
        if select([master], [], [], 0.05)[0]:
            screen += os.read(master, 1 << 16)
        for query in [query for query in unanswered if query.search(screen)]:
            unanswered.remove(query)
            if interrupt:
                process.send_signal(signal.SIGINT)
            os.write(master, sixel if query is SIXEL_QUERY else kitty)
    is_same = termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
    return process.returncode, screen, is_same


@pytest.mark.parametrize(
    ("sixel", "kitty", "sign"),
    [(SIXEL, b"", b"\x1bP"), (NO_SIXEL, KITTY, b"\x1b_Gi="), (NO_SIXEL, b"", "▀".encode())],
    ids=["sixel", "kitty", "neither"],
)
def test_a_terminal_is_asked_what_it_can(tmp_path: Path, sixel: bytes, kitty: bytes, sign: bytes) -> None:
    pytest.importorskip("textual_image", reason="the extra show is not installed: only half blocks are drawn")
    status, screen, is_same = answered(tmp_path, sixel, kitty)
    assert status == 0, screen
    assert sign in screen.partition(b"same code")[2]
    assert is_same


def test_an_interruption_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("textual_image", reason="the extra show is not installed: no terminal is asked")
    status, _, is_same = answered(tmp_path, b"", b"", interrupt=True)
    assert status == 130
    assert is_same


def test_a_run_shows_its_tokens_and_then_its_picture(tiny: Path, tmp_path: Path) -> None:
    line = ["t2i", "x", "-m", tiny, "-s", "64x64", "--steps", "1", "--seed", "1", "-o", "x.png", "--show"]
    session = run_on_terminal(*line, stdout="pipe", folder=tmp_path)
    assert session.status == 0, session.screen
    assert session.out == "x.png\n"
    assert sum("▀" in line for line in session.lines) >= 2 * 8


class Shown(list[tuple[int, int]]):
    """The sizes of the pictures that a command showed, as if there were a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Console, "shows_pictures", property(lambda console: console.pictures))
        monkeypatch.setattr(Console, "picture", lambda console, image: console.pictures and self.append(image.size))


@pytest.mark.parametrize(
    ("memory", "sizes"), [("resident", [(512, 512), (64, 64)]), ("stage", [(16, 16), (64, 64)])], ids=["both", "one"]
)
def test_the_preview_is_painted_where_both_halves_stay_loaded(
    glmimg: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, sizes: list[tuple[int, int]]
) -> None:
    shown = Shown(monkeypatch)
    line = ["t2i", "x", "-m", tiny, "-s", "64x64", "--steps", "1", "-o", tmp_path / "x.png", "--memory", memory]
    done = glmimg(*line, "--show", "--no-worker")
    assert done.status == 0, done.err
    assert shown == sizes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "x.tokens.json"]


def test_several_previews_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, dump = Shown(monkeypatch), read_dump(DUMP)
    with ProgressLine(Console(pictures=True)) as line:
        line(PreviewWritten((dump, dump, dump)))
    assert shown == [of_tokens([dump] * 3).size]


def test_open_calls_the_desktop_viewer(
    glmimg: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, log = tmp_path / "bin" / "xdg-open", tmp_path / "opened.txt"
    viewer.parent.mkdir()
    viewer.write_text(f'#!/bin/sh\necho "$1" >> {log}\n')
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{viewer.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "platform", "linux")
    line = ["t2i", "x", "-m", tiny, "-s", "64x64", "--steps", "1", "-n", "5", "--seed", "1"]
    done = glmimg(*line, "-o", tmp_path / "x-{seed}.png", "--open", "-q")
    assert done.status == 0, done.err
    for _ in range(100):
        if log.exists() and len(log.read_text().splitlines()) == 4:
            break
        time.sleep(0.05)
    assert sorted(log.read_text().splitlines()) == [str(tmp_path / f"x-{seed}.png") for seed in (1, 2, 3, 4)]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no viewer" in open_with_desktop(tmp_path / "x-1.png")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "no desktop" in open_with_desktop(tmp_path / "x-1.png")
    said: list[str] = []
    monkeypatch.setattr(Console, "note", lambda console, text: said.append(text))
    console = Console(opens=4)
    console.open(tmp_path / "x-1.png")
    console.open(tmp_path / "x-2.png")
    assert len(said) == 1
