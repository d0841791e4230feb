"""Runs every console block of the README and of docs/, in order, and compares what it prints.

    python -m tests.docs.console [FILE...] [--write]

Lines that begin with `$ ` are commands of bash, run in a fresh folder for each file. What follows is what they print on
both streams; durations count as equal, and `...` stands for anything. --write puts in what was printed.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DURATION = re.compile(r"\b(\d+ min )?\d+(\.\d+)? s\b|(?<=\"tokens\": )\d+\.\d+|(?<=\"picture\": )\d+\.\d+")


def steps(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block with the lines it is said to print."""
    command: list[str] = []
    printed: list[str] = []
    for line in block.splitlines():
        goes_on = bool(command) and command[-1].endswith("\\") and not printed
        if line.startswith("$ ") or goes_on:
            if command and not goes_on:
                yield "\n".join(command), printed
                command, printed = [], []
            command.append(line.removeprefix("$ "))
        else:
            printed.append(line)
    if command:
        yield "\n".join(command), printed


def run(command: str, folder: Path) -> list[str]:
    """What a command prints in a folder."""
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / ".hub"),
        "GLMIMG_CONFIG": str(folder / ".config.yaml"),
        "COLUMNS": "200",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return [line.rstrip() for line in done.stdout.splitlines()]


def same(expected: list[str], printed: list[str]) -> bool:
    """Whether lines are as expected, durations apart and `...` for anything."""
    if len(expected) != len(printed):
        return False
    return all(matches(*pair) for pair in zip(expected, printed, strict=True))


def matches(expected: str, printed: str) -> bool:
    """Whether one line is as expected."""
    pattern = ".*".join(re.escape(part) for part in DURATION.sub("0 s", expected.rstrip()).split("..."))
    return re.fullmatch(pattern, DURATION.sub("0 s", printed)) is not None


def check(page: Path, *, write: bool) -> int:
    """Run the blocks of a page. Returns how many commands print something else."""
    text, failures = page.read_text(encoding="utf-8"), 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def replay(match: re.Match[str]) -> str:
            nonlocal failures
            lines = []
            for command, expected in steps(match[1]):
                printed = run(command, folder)
                fits = same(expected, printed)
                if not fits:
                    failures += 1
                    sys.stdout.write(f"{page.name}: $ {command}\n")
                    sys.stdout.writelines(
                        f"  {line}\n" for line in difflib.unified_diff(expected, printed, lineterm="")
                    )
                lines += [f"$ {command}", *(expected if fits else printed)]
            return "```console\n" + "".join(f"{line}\n" for line in lines) + "```"

        fresh = BLOCK.sub(replay, text)
    if write:
        page.write_text(fresh, encoding="utf-8")
    return failures


def main() -> None:
    """Check the pages named, or all."""
    named = [Path(word).resolve() for word in sys.argv[1:] if not word.startswith("-")]
    failures = sum(check(page, write="--write" in sys.argv) for page in named or PAGES)
    sys.stdout.write(f"{failures} commands print something else than their page says\n")
    sys.exit(bool(failures) and "--write" not in sys.argv)


if __name__ == "__main__":
    main()
