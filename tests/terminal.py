"""The program as a terminal runs it: on a pty, with each standard stream the terminal, a pipe or a file."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Stream = Literal["terminal", "pipe", "file"]


@dataclass(frozen=True)
class Session:
    """How a run on a terminal ended.

    out:    what reached standard output where that is a pipe or a file, empty where it is the terminal
    screen: all that reached the terminal, control sequences included
    """

    status: int
    out: str
    screen: str

    @property
    def lines(self) -> list[str]:
        """What was written on the screen line by line, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.screen).replace("\r", "\n").split("\n")


def open_terminal() -> tuple[int, int]:
    """The two ends of a terminal of 100 columns and 30 rows: ours, and the program's."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    return master, slave


def run_on_terminal(*arguments: str | Path, stdout: Stream, folder: Path, timeout: float = 120) -> Session:
    """Run the program on a terminal of 100 columns; standard output is the terminal too, a pipe, or a file."""
    master, slave = open_terminal()
    file = folder / "stdout.txt"
    command = [sys.executable, "-m", "glmimg", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with file.open("wb") as to_file:
        target = {"terminal": slave, "pipe": subprocess.PIPE, "file": to_file}[stdout]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=slave, stdout=target, stderr=slave, start_new_session=True
        )
    os.close(slave)
    screen: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(master, screen))
    reader.start()
    out = process.stdout.read() if process.stdout is not None else b""
    status = process.wait(timeout)
    reader.join()
    os.close(master)
    if stdout == "file":
        out = file.read_bytes()
    return Session(status, out.decode(), b"".join(screen).decode())


def _read_all(master: int, chunks: list[bytes]) -> None:
    while True:
        try:
            chunk = os.read(master, 1 << 16)
        except OSError:  # Linux says EIO when the last writer has closed its end
            return
        if not chunk:
            return
        chunks.append(chunk)
