"""Each of the three standard streams a terminal, a pipe, a file, or closed."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.batch.stubs import stub_checkpoint

KINDS = ("terminal", "pipe", "file", "closed")
Kinds = tuple[str, str, str]


class Streams:
    """Three streams for a program, and what it wrote on the last two."""

    def __init__(self, kinds: Kinds, folder: Path) -> None:
        self.kinds = kinds
        self.given: list[int | None] = []
        self._ours: list[int] = []
        self._paths: list[Path | None] = [None] * 3
        for number, kind in enumerate(kinds):
            self.given.append(self._open(number, kind, folder))

    def _open(self, number: int, kind: str, folder: Path) -> int | None:
        ours = theirs = None
        if kind == "terminal":
            ours, theirs = pty.openpty()
        elif kind == "pipe":
            reader, writer = os.pipe()
            ours, theirs = (writer, reader) if number == 0 else (reader, writer)
        elif kind == "file":
            path = self._paths[number] = folder / f"stream{number}.txt"
            path.touch()
            theirs = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY)
        self._ours.append(-1 if ours is None else ours)
        return theirs

    def run(self, *command: str) -> int:
        """Run a program with these streams; a closed one is closed by a shell, as a user does it."""
        closing = " ".join(
            f"{number}{'<' if number == 0 else '>'}&-" for number in range(3) if self.given[number] is None
        )
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closing}', "sh", *command],
            stdin=self.given[0],
            stdout=self.given[1],
            stderr=self.given[2],
            check=False,
            start_new_session=True,
            timeout=60,
        )
        for fd in self.given:
            if fd is not None:
                os.close(fd)
        return done.returncode

    def said(self, number: int) -> str:
        """What was written on standard output (1) or standard error (2)."""
        if (path := self._paths[number]) is not None:
            return path.read_text()
        if self._ours[number] < 0:
            return ""
        chunks = []
        while True:
            try:
                chunk = os.read(self._ours[number], 1 << 16)
            except OSError:  # how Linux says that a terminal has no writer left
                break
            if not chunk:
                break
            chunks.append(chunk)
        return b"".join(chunks).decode()

    def close(self) -> None:
        for fd in self._ours:
            if fd >= 0:
                os.close(fd)


def run(kinds: Kinds, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the program on stub stages."""
    folder.mkdir()
    streams = Streams(kinds, folder)
    status = streams.run(sys.executable, "-m", "tests.cli.on_stubs", *arguments)
    result = status, streams.said(1), streams.said(2)
    streams.close()
    return result


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(stub_checkpoint(tmp_path_factory.mktemp("stub")).folder)


def test_all_streams_of_t2i(stub: str, tmp_path: Path) -> None:
    def draw(kinds: Kinds) -> str:
        folder = tmp_path / "-".join(kinds)
        out = folder / "x.png"
        status, said, told = run(kinds, folder, "t2i", "x", "-m", stub, "-s", "32", "-o", str(out))
        path_said = kinds[1] == "closed" or str(out) in said.replace("\r\n", "\n").split("\n")
        fine = status == 0 and out.is_file() and path_said and "rror" not in told + said
        return "" if fine else f"{kinds}: status {status}, {said!r}, {told!r}"

    with ThreadPoolExecutor(2) as pool:
        faults = [fault for fault in pool.map(draw, itertools.product(KINDS, repeat=3)) if fault]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("more", [(), ("--events",)])
def test_notes_on_a_full_disk_stop_no_drawing(stub: str, tmp_path: Path, more: tuple[str, ...]) -> None:
    out = tmp_path / "x.png"
    line = ["t2i", "x", "-m", stub, "-s", "32", "-o", str(out), *more]
    with Path("/dev/full").open("wb") as full:
        for status in (0, 2):
            done = subprocess.run([sys.executable, "-m", "tests.cli.on_stubs", *line], stderr=full, check=False)
            assert (done.returncode, out.is_file()) == (status, True)


@pytest.mark.parametrize("line", ["tokens x -s 32 -m {stub}", "inspect {dump}", "presets", "t2i --help"])
def test_streams_of_other_commands(stub: str, tmp_path: Path, line: str) -> None:
    dump = tmp_path / "d.tokens.json"
    assert run(("pipe",) * 3, tmp_path / "first", "tokens", "x", "-s", "32", "-m", stub, "-o", str(dump))[0] == 0  # type: ignore[arg-type]
    for number, kind in enumerate(KINDS):
        words = line.format(stub=stub, dump=dump).split()
        out = ["-o", str(tmp_path / f"{number}.tokens.json")] if words[0] == "tokens" else []
        status, said, told = run((kind,) * 3, tmp_path / kind, *words, *out)  # type: ignore[arg-type]
        assert (status, "rror" in told + said) == (0, False), (kind, told, said)
        assert bool(said) == (kind != "closed")
