"""`glmimg inspect` as scripts and people use it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console as RichConsole

from glmimg.cli.inspect_view import show_table
from glmimg.tokens.dump import Parent
from glmimg.tokens.dump_file import write_dump
from glmimg.tokens.palette import code_colour
from glmimg.tokens.statistics import describe
from tests.conftest import Outcome
from tests.dumps import dump

Run = Callable[..., Outcome]
ROWS = [[1, 2, 3], [4, 5, 6]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dump(dump(ROWS), tmp_path / "a.tokens.json")
    write_dump(dump(ROWS, prompt="another", seed=2), tmp_path / "same.tokens.json")
    write_dump(dump([[1, 2, 3], [4, 50, 6]]), tmp_path / "b.tokens.json")
    return tmp_path


def test_one_dump(glmimg: Run, folder: Path) -> None:
    done = glmimg("inspect", folder / "a.tokens.json")
    assert done.status == 0
    for word in ("a red circle", "96x64", "format", "size", "shape", "ids", "0 to 6", "6 distinct", "2.58 bits"):
        assert word in done.out, word
    assert "\x1b" not in done.out


def test_one_dump_as_json(glmimg: Run, folder: Path) -> None:
    done = glmimg("inspect", folder / "a.tokens.json", "--json")
    said = json.loads(done.out)
    assert said["sound"] is True
    assert {check["name"]: check["state"] for check in said["checks"]} == {
        "format": "ok", "size": "ok", "shape": "ok", "ids": "ok", "model": "unchecked"
    }  # fmt: skip
    target = said["grids"][1]
    assert (target["role"], target["distinct"], target["rows"], target["columns"]) == ("target", 6, 2, 3)
    assert "tokens" not in target


def test_parents_that_are_no_files_are_not_read(glmimg: Run, tmp_path: Path) -> None:
    """Some never end, some are never written to."""
    os.mkfifo(tmp_path / "pipe")
    names = [
        "/proc/self/pagemap",
        "/dev/zero",
        str(tmp_path / "pipe"),
        str(tmp_path),
        "https://example.com/x",
        "\0",
        "x" * 4000,
    ]
    parents = [Parent(role="base", path=name, sha256="0" * 64, cells=1) for name in names]
    write_dump(dump(ROWS, parents=parents), tmp_path / "a.tokens.json")
    started = time.monotonic()
    done = glmimg("inspect", tmp_path / "a.tokens.json", "--json")
    assert time.monotonic() - started < 5
    states = [check["state"] for check in json.loads(done.out)["checks"] if check["name"] == "parent"]
    assert set(states) <= {"unchecked", "failed"}
    assert len(states) == len(names)


def test_two_dumps_end_as_diff_does(glmimg: Run, folder: Path) -> None:
    a, same, b = (folder / f"{name}.tokens.json" for name in ("a", "same", "b"))
    assert glmimg("inspect", a, same).status == 0
    differ = glmimg("inspect", a, b)
    assert differ.status == 1
    assert "target: 1 of 6 cells differ, within rows 1-1, columns 1-1" in differ.out
    assert "...\n.#." in differ.out
    said = json.loads(glmimg("inspect", a, b, "--json").out)
    assert said["equal"] is False
    assert said["grids"][1]["cells"] == [[1, 1]]
    assert said["fields"] == {}


def test_a_glob_gives_a_table(glmimg: Run, folder: Path) -> None:
    done = glmimg("inspect", folder / "*.tokens.json")
    assert done.status == 0
    lines = done.out.splitlines()
    assert len(lines) == 4
    digest = {line.split()[0].rsplit("/")[-1]: re.findall(r" ([0-9a-f]{8}) ", line) for line in lines[1:]}
    assert digest["a.tokens.json"] == digest["same.tokens.json"] != digest["b.tokens.json"]


def test_a_table_names_what_is_no_dump(glmimg: Run, folder: Path) -> None:
    (folder / "c.tokens.json").write_text("{")
    done = glmimg("inspect", folder / "*.tokens.json", "--json")
    assert done.status == 3
    assert len(done.out.splitlines()) == 3
    assert "c.tokens.json" in done.err


def test_errors(glmimg: Run, folder: Path) -> None:
    assert glmimg("inspect").status == 2
    assert glmimg("inspect", folder / "none.json").status == 3
    assert glmimg("inspect", folder / "*.nothing").status == 3
    assert glmimg("inspect", folder / "a.tokens.json", folder / "b.tokens.json", "--score").status == 2
    Image.new("RGB", (32, 32)).save(folder / "small.png")
    over = glmimg("inspect", folder / "a.tokens.json", "--over", folder / "small.png")
    assert over.status == 3
    assert "32x32" in over.err
    assert not (folder / "small.grid.png").exists()


def test_a_changed_parent_makes_a_dump_unsound(glmimg: Run, folder: Path) -> None:
    a, b, out = folder / "a.tokens.json", folder / "b.tokens.json", folder / "out.tokens.json"
    assert glmimg("paste", a, b, "--box", "32,32,64,64", "-o", out).status == 0
    assert json.loads(glmimg("inspect", out, "--json").out)["sound"] is True
    assert glmimg("inspect", out, b).status == 0
    b.write_text(b.read_text() + " ")
    done = glmimg("inspect", out)
    assert done.status == 3
    assert "has changed since" in done.err
    b.unlink()
    assert glmimg("inspect", out).status == 0


def test_pictures(glmimg: Run, folder: Path) -> None:
    a, picture = folder / "a.tokens.json", folder / "grid.png"
    assert glmimg("inspect", a, "--picture", picture).status == 0
    with Image.open(picture) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {code_colour(code) for row in ROWS for code in row} <= colours
    assert glmimg("inspect", a, "--picture", picture).status == 2, "never written over without --force"
    Image.new("RGB", (96, 64), "white").save(folder / "out.png")
    assert glmimg("inspect", a, "--over", folder / "out.png").status == 0
    with Image.open(folder / "out.grid.png") as image:
        assert image.size == (192, 128)


def test_the_schema_is_published(glmimg: Run) -> None:
    assert json.loads(glmimg("inspect", "--schema").out)["title"] == "glmimg token dump"


def test_a_prompt_cannot_command_the_terminal(glmimg: Run, folder: Path) -> None:
    write_dump(dump(ROWS, prompt="\x1b[2J[red]bold[/red]\r\nx"), folder / "evil.tokens.json")
    done = glmimg("inspect", folder / "evil.tokens.json")
    assert "\x1b" not in done.out
    assert r"\x1b[2J[red]bold[/red]\r\nx" in done.out


def test_it_imports_no_torch(folder: Path) -> None:
    script = (
        "import sys, atexit\n"
        "from glmimg.cli.main import main\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'numpy'}\n"
        "atexit.register(lambda: sys.stderr.write('HEAVY:' + ','.join(heavy & set(sys.modules))))\n"
        f"sys.argv = ['glmimg', 'inspect', {str(folder / 'a.tokens.json')!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("HEAVY:"), done.stderr


def test_a_dump_that_stopped_after_its_preview(glmimg: Run, folder: Path) -> None:
    whole = dump(ROWS)
    begun = folder / "begun.tokens.json"
    write_dump(whole.model_copy(update={"grids": whole.grids[:1]}), begun)
    assert glmimg("inspect", begun, "--picture", folder / "p.png").status == 0
    assert glmimg("inspect", begun, begun, "--picture", folder / "q.png").status == 0
    assert "missing against 2x3" in glmimg("inspect", begun, folder / "a.tokens.json").out
    assert glmimg("inspect", "--table", begun).status == 0
    Image.new("RGB", (96, 64)).save(folder / "out.png")
    for arguments in (["inspect", begun, "--over", folder / "out.png"], ["redraw", "--box", "0,0,32,32", begun]):
        done = glmimg(*arguments)
        assert done.status == 3
        assert "has only a preview grid" in done.err


def test_a_narrow_terminal_gets_fewer_figures_but_whole_ones() -> None:
    drawn = dump(ROWS)
    rows = [(f"runs/{name}.tokens.json", drawn, describe(drawn), "0123456789") for name in "ab"]
    headings = []
    for width in (40, 80, 120):
        file = io.StringIO()
        console = RichConsole(width=width, file=file, force_terminal=True, color_system=None)
        console.print(show_table(rows, console))
        headings.append(file.getvalue().splitlines()[0].split())
        assert "runs/b.tokens.json" in file.getvalue()
        assert ("96x64" in file.getvalue()) == (width > 40)
    assert headings[0] == ["dump", "prompt"]
    assert headings[2] == ["dump", "size", "seed", "codes", "bits", "tokens", "prompt"]
