"""The program interrupted, ended or killed at a random moment, in a process of its own on a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from tests.bench.hostile.case import Verdict

COMMAND = ["t2i", "a red circle", "-m", "demo", "--steps", "8", "--seed", "1", "-o", "out.png"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)
ENDINGS = {signal.SIGINT: {0, 130}, signal.SIGTERM: {0, 143, -15}, signal.SIGKILL: {0, -9}, signal.SIGHUP: {0, 129, -1}}
LONGEST = 6.0
"""Seconds the command takes here at most: moments are spread over them."""

PATIENCE = 30.0
"""Seconds from a signal to the end, on a busy machine."""


def strike(random: Random, folder: Path) -> Verdict:
    """One run, one signal: how it ended, and whether what it left is whole."""
    folder.mkdir(parents=True)
    which, moment = random.choice(SIGNALS), random.uniform(0, LONGEST)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "glmimg", *COMMAND]
    process = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = _read(ours, process, time.monotonic() + moment)
    process.send_signal(which)
    struck = time.monotonic()
    said += _read(ours, process, struck + PATIENCE)
    verdict = Verdict(said=[f"{which.name} at {moment:.2f} s", said[-600:]])
    try:
        status = process.wait(max(0.1, struck + PATIENCE - time.monotonic()))
    except subprocess.TimeoutExpired:
        verdict.faults["hang"] = which.name
        process.kill()
        status = process.wait()
    os.close(ours)
    verdict.statuses.append(status)
    if "Traceback (most recent call last)" in said:
        verdict.faults["traceback"] = f"{which.name} at {moment:.2f} s: {said[-2500:]}"
    elif "This is a bug" in said:
        verdict.faults["bug message"] = said[-300:]
    elif status not in ENDINGS[which] and "hang" not in verdict.faults:
        verdict.faults["wrong status"] = f"{which.name}: {status} {said[-300:]}"
    _look(folder, which, verdict)
    return verdict


def _read(terminal: int, process: subprocess.Popen[bytes], until: float) -> str:
    said = b""
    while time.monotonic() < until and process.poll() is None:
        if select.select([terminal], [], [], 0.02)[0]:
            try:
                said += os.read(terminal, 1 << 16)
            except OSError:
                break
    try:
        while select.select([terminal], [], [], 0)[0] and (more := os.read(terminal, 1 << 16)):
            said += more
    except OSError:  # how Linux says that the last writer went away
        pass
    return said.decode("utf-8", "replace")


def _look(folder: Path, which: signal.Signals, verdict: Verdict) -> None:
    """What lies there has to be whole; only a kill may leave a temporary file."""
    from glmimg.errors import GlmimgError
    from glmimg.image_io import read_provenance
    from glmimg.tokens.dump_file import read_dump
    from glmimg.unfinished import read_unfinished

    for path in folder.iterdir():
        try:
            if path.name.startswith("."):
                if which == signal.SIGINT:
                    verdict.faults["file lost"] = f"{which.name} left {path.name}"
            elif path.suffix == ".png":
                read_provenance(path)
            elif path.suffix == ".part":
                read_unfinished(path)
            else:
                read_dump(path)
        except GlmimgError as error:
            verdict.faults["file lost"] = f"{path.name} is not whole: {error.message}"
