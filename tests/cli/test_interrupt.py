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


FROM_THE_FIRST_LINE = """
import sys
from importlib.util import find_spec
code = open(find_spec("glmimg.__main__").origin).read().replace("import gc", "print('.', flush=True); import gc", 1)
exec(compile(code, "__main__.py", "exec"), {"__name__": "__main__"})
"""
"""The program, saying when its first statement is done."""


LONG, SHORT = "t2i x -m {tiny} -o x.png -s 1024x1024", ("t2i x -s 1", "presets --json")
MOMENTS = (0, 0.005, 0.02, 0.1, 0.2, 0.4)
"""Seconds after the first statement; a short command may be over by the last."""


@pytest.mark.parametrize(
    ("line", "delay"),
    [(LONG, delay) for delay in (*MOMENTS, 0.8, 1.6, 3.2)] + [(line, delay) for line in SHORT for delay in MOMENTS],
)
def test_ctrl_c_at_any_moment(tiny: Path, tmp_path: Path, line: str, delay: float) -> None:
    command = [sys.executable, "-c", FROM_THE_FIRST_LINE, *line.format(tiny=tiny).split()]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, preexec_fn=heed_interrupts
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b".\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 or (process.returncode in (0, 2) and line in SHORT), err
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".json", ".part")]


BROKEN_IMPORT = """
import os, signal
from glmimg.__main__ import main
from glmimg.cli import main as program
from glmimg.errors import ModelUnfit

def import_something(prog_name):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        raise {}("Could not import module")

program.app = import_something
main()
"""
"""What libraries make of a Ctrl-C that breaks off an import of theirs."""


@pytest.mark.parametrize("error", ["ModuleNotFoundError", "RuntimeError", "ModelUnfit"])
def test_ctrl_c_that_an_import_turns_into_an_error(error: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_IMPORT.format(error)],
        capture_output=True, text=True, check=False, preexec_fn=heed_interrupts,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")


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
    part = tmp_path / "x.png.part"
    assert f"glmimg resume {part}" in err if part.exists() else f"glmimg decode {dump}" in err
    assert json.loads(dump.read_text())["prompt"] == "x"
    assert sorted({path.name for path in tmp_path.iterdir()} - {part.name}) == ["x.tokens.json"]


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


IN_A_FINALIZER = """
import os, signal, time
from glmimg.__main__ import Interrupter
signal.signal(signal.SIGINT, Interrupter())
class Freed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)
Freed()
try:
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_an_object_is_freed_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_FINALIZER], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
