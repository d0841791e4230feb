"""Tab in the shells themselves: bash and zsh on a terminal, fish by its own `complete`."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = [
    ("glmimg tok", "glmimg tokens"),
    ("glmimg t2i --tempe", "glmimg t2i --temperature"),
    ("glmimg t2i --scheduler un", "glmimg t2i --scheduler unipc"),
    ("glmimg t2i x -m de", "glmimg t2i x -m demo"),
    ("glmimg t2i x -p qua", "glmimg t2i x -p quality"),
    ("glmimg t2i x -p pool", "glmimg t2i x -p poolside"),
    ("glmimg decode one", "glmimg decode one.tokens.json"),
    ("glmimg inspect o", "glmimg inspect one.tokens.json"),
    ("glmimg models li", "glmimg models list"),
    ("glmimg replay pict", "glmimg replay picture.png"),
    ("glmimg edit x -i pict", "glmimg edit x -i picture.png"),
]
"""A line as it is typed, and what it is after Tab."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the program on its path, a dump and a picture."""
    folder = tmp_path_factory.mktemp("home")
    program = folder / "bin" / "glmimg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m glmimg "$@"\n')
    program.chmod(0o755)
    (folder / "presets").mkdir()
    for name in ("one.tokens.json", "one.txt", "picture.png", "presets/poolside.yaml"):
        (folder / name).touch()
    return folder


def environment(home: Path) -> dict[str, str]:
    own = {"HOME": str(home), "GLMIMG_CONFIG": str(home / "config.yaml")}
    return {**os.environ, **own, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}


def install(shell: str, home: Path) -> None:
    """As a user does it, from the shell that is to complete."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine: Tab was not pressed there")
    # Two commands, so that the shell does not hand itself over to the program it is asked about.
    script = "glmimg --install-completion && true"
    done = subprocess.run(
        [shell, "-c", script], env=environment(home), cwd=home, capture_output=True, text=True, check=False
    )
    assert (done.returncode, f"{shell} completion installed" in done.stdout) == (0, True), done


def press_tab(shell: list[str], setup: str, lines: list[str], home: Path) -> str:
    """What a terminal shows after each line was typed into a shell with Tab at its end, and taken away again."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execvpe(shell[0], shell, environment(home))
    shown = _type(terminal, f"{setup}; echo set''up\n", "setup\r\n")
    for number, line in enumerate(lines):
        # Ctrl-E waits for the completion, and what is printed next says that it is over.
        shown += _type(terminal, f"{line}\t", line, pause=0.3)
        shown += _type(terminal, f"\x01: \x05; echo th''ere{number}\n", f"there{number}\r\n")
    os.write(terminal, b"\nexit\n")
    os.waitpid(child, 0)
    os.close(terminal)
    return shown


def _type(terminal: int, text: str, until: str, pause: float = 0.0) -> str:
    os.write(terminal, text.encode())
    shown, deadline = "", time.monotonic() + 30
    while until not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 1 << 16).decode(errors="replace")
    assert until in shown, shown
    time.sleep(pause)
    return shown


@pytest.mark.parametrize(
    ("shell", "setup"),
    [
        (["bash", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'; PS1='$ '"),
        (["zsh", "-i"], "unset zle_bracketed_paste; unsetopt prompt_sp; PS1='$ '"),
    ],
    ids=["bash", "zsh"],
)
def test_tab(shell: list[str], setup: str, home: Path) -> None:
    install(shell[0], home)
    # The first Tab in zsh only loads typer's function.
    shown = press_tab(shell, setup, [LINES[0][0], *(line for line, _ in LINES)], home)
    plain = shown.replace("\r", "").replace("\x07", "")
    lacking = [whole for _, whole in LINES if f": {whole}" not in plain]
    assert not lacking, shown


def test_fish(home: Path) -> None:
    install("fish", home)
    script = "\n".join(f"echo '> {line}'; complete -C '{line}'" for line, _ in LINES)
    done = subprocess.run(
        ["fish", "-c", script], env=environment(home), cwd=home, capture_output=True, text=True, check=True
    )
    for line, whole in LINES:
        proposed = done.stdout.split(f"> {line}\n")[1].split("\n> ")[0].splitlines()
        assert whole.split()[-1] in [each.split("\t")[0] for each in proposed], (line, proposed)
