"""Ctrl-C at any moment, and a reader that went away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """The program as a terminal starts it; a shell's background jobs, such as these tests may be, ignore Ctrl-C."""
    command = [sys.executable, "-m", "glmimg", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("delay", [0.3, 2.0, 5.0])
def test_ctrl_c_while_starting(tiny: Path, tmp_path: Path, delay: float) -> None:
    process = start("t2i", "x", "-m", tiny, "-o", tmp_path / "x.png", "-s", "1024x1024")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == -signal.SIGINT:  # the interpreter itself was still starting
        assert "glmimg" not in err
    else:
        assert process.returncode == 130
        assert "Traceback" not in err
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".json"]


def test_ctrl_c_while_painting_keeps_the_dump(tiny: Path, tmp_path: Path) -> None:
    dump = tmp_path / "x.tokens.json"
    process = start("t2i", "x", "-m", tiny, "-o", tmp_path / "x.png", "--steps", "1000", "-s", "512x512")
    deadline = time.monotonic() + 120
    while not dump.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"glmimg decode {dump}" in err
    assert json.loads(dump.read_text())["prompt"] == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tokens.json"]


@pytest.mark.parametrize("arguments", [["presets"], ["presets", "--json"], ["models", "--json"]])
def test_a_closed_pipe_is_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "glmimg", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
