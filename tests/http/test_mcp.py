"""`glmimg serve --mcp`, asked by the official SDK's own client over standard input and output."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import run_program

pytest.importorskip("mcp", reason="the extra mcp is not installed: no tool server was started")
from mcp import Client, StdioServerParameters

SMALL = {"size": "64x64", "steps": 1, "seed": 7}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "drawn": ("draw", {"prompt": "a {red|blue} circle", "knobs": SMALL}),
    "two": ("draw", {"prompt": "x", "knobs": SMALL, "count": 2, "presets": ["fast"]}),
    "kept": ("draw", {"prompt": "x", "knobs": SMALL, "out": "out/x.png"}),
    "again": ("draw", {"prompt": "x", "knobs": SMALL, "out": "out/x.png"}),
    "edited": ("edit", {"prompt": "x", "images": ["out/x.png"], "knobs": SMALL}),
    "fetched": ("edit", {"prompt": "x", "images": ["https://example.org/x.png"]}),
    "seen": ("look", {"path": "out/x.png"}),
    "presets": ("list_presets", {}),
    "out of bounds": ("draw", {"prompt": "x", "knobs": {"steps": 0}}),
    "unknown": ("draw", {"prompt": "x", "knobs": {"stepz": 1}}),
    "a file": ("draw", {"prompt": "x", "knobs": {"drop": "/etc/passwd"}}),
    "a preset's file": ("draw", {"prompt": "x", "presets": ["/etc/x.yaml"]}),
    "written outside": ("draw", {"prompt": "x", "knobs": SMALL, "out": "../evil.png"}),
    "written through a link": ("draw", {"prompt": "x", "knobs": SMALL, "out": "link/evil.png"}),
    "read outside": ("edit", {"prompt": "x", "images": ["/etc/passwd"], "knobs": SMALL}),
    "looked outside": ("look", {"path": "../x.png"}),
    "no picture": ("look", {"path": "nothing.png"}),
}


class Session:
    """What a server answered to `CALLS`, and what it wrote."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.log = folder, folder.parent / "stdout.jsonl"
        (folder / "link").symlink_to(folder.parent)
        command = shlex.join([sys.executable, "-m", "glmimg", "serve", "--mcp", "-m", str(model)])
        self.server = StdioServerParameters(
            command="sh", args=["-c", f"{command} | tee {shlex.quote(str(self.log))}"], cwd=folder, env=dict(os.environ)
        )
        self.progress: list[float] = []
        self.answers = asyncio.run(self._ask())

    async def _ask(self) -> dict[str, Any]:
        async def heard(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append(progress)

        async with Client(self.server, read_timeout_seconds=120) as client:
            self.tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            answers = {}
            for name, (tool, arguments) in CALLS.items():
                told = heard if name == "two" else None
                answers[name] = await client.call_tool(tool, arguments, progress_callback=told)
            return answers

    def pictures(self, name: str) -> list[bytes]:
        found = [each for each in self.answers[name].content if each.type == "image"]
        assert all(each.mime_type == "image/png" for each in found)
        return [base64.b64decode(each.data) for each in found]

    def said(self, name: str) -> Any:
        return json.loads(self.answers[name].content[-1].text)

    def refusal(self, name: str) -> str:
        assert self.answers[name].is_error
        return str(self.answers[name].content[0].text)


@pytest.fixture(scope="module")
def session(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("mcp") / "served"
    folder.mkdir()
    return Session(folder, tiny)


def test_tools_say_what_they_take(session: Session) -> None:
    assert set(session.tools) == {"draw", "edit", "look", "list_presets"}
    knobs = session.tools["draw"].input_schema["properties"]["knobs"]["properties"]
    assert knobs["steps"] == {"type": "integer", "minimum": 1, "maximum": 1000, "description": "Denoising steps."}
    assert "drop" not in knobs
    assert session.tools["edit"].input_schema["required"] == ["prompt", "images"]


def test_a_picture_is_the_one_of_the_command_line(session: Session, tiny: Path, tmp_path: Path) -> None:
    (drawn,) = session.pictures("drawn")
    line = ["t2i", "a {red|blue} circle", "--literal", "-s", "64x64", "--steps", "1", "--seed", "7", "-m", tiny, "-q"]
    assert run_program(*line, "-o", tmp_path / "x.png").returncode == 0
    assert (tmp_path / "x.png").read_bytes() == drawn
    assert session.said("drawn")[0]["seed"] == 7


def test_several_pictures_with_a_preset_and_their_progress(session: Session) -> None:
    assert len(session.pictures("two")) == 2
    assert [(each["seed"], each["steps"], each["scheduler"]) for each in session.said("two")] == [
        *((7, 1, "unipc"), (8, 1, "unipc"))
    ]
    assert session.progress == sorted(set(session.progress))
    assert 0 < session.progress[0] < session.progress[-1] == 2


def test_files_are_written_only_where_the_call_says(session: Session) -> None:
    written = {str(path.relative_to(session.folder)) for path in session.folder.rglob("*") if path.is_file()}
    assert written == {"out/x.png", "out/x.tokens.json"}
    assert (session.folder / "out" / "x.png").read_bytes() == session.pictures("kept")[0]
    assert session.said("kept")[0]["written"] == "out/x.png"
    assert "exists already" in session.refusal("again")
    assert "--force" not in session.refusal("again")
    assert not (session.folder.parent / "evil.png").exists()


def test_an_edit_and_a_look(session: Session) -> None:
    assert len(session.pictures("edited")) == 1
    assert session.said("edited")[0]["sources"][0]["sha256"]
    (grids,) = session.pictures("seen")
    assert Image.open(io.BytesIO(grids)).width > 500
    assert session.said("seen")["sound"] is True
    assert session.said("presets")["fast"]["steps"] == 12


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out of bounds", "--steps 0: it should be greater than or equal to 1"),
        ("unknown", "Did you mean steps"),
        ("a file", "no knob 'drop'"),
        ("a preset's file", "no preset '/etc/x.yaml'"),
        *((name, "outside the folder") for name in CALLS if "outside" in name or "link" in name),
        ("fetched", "only files are read"),
        ("no picture", "nothing.png"),
    ],
)
def test_what_cannot_be_is_refused_with_words(session: Session, name: str, words: str) -> None:
    assert words in session.refusal(name)


def test_standard_output_has_only_the_protocol(session: Session) -> None:
    lines = session.log.read_text().splitlines()
    assert len(lines) > len(CALLS)
    assert {json.loads(line)["jsonrpc"] for line in lines} == {"2.0"}


def test_a_client_that_leaves_ends_it(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "glmimg", "serve", "--mcp", "-m", str(tiny)]
    done = subprocess.run(command, input="", capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
