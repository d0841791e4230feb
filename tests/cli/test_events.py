"""`--events`: what long commands tell other programs on standard error, against what docs/programs.md says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmimg.cli.capabilities import everything
from glmimg.cli.console import Console
from glmimg.cli.progress import EventLines
from glmimg.events import StepDone
from tests.conftest import Outcome, run_program
from tests.hub import serving

Run = Callable[..., Outcome]
PAGE = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()
DOCUMENTED = {
    kind: {"event", "time", *re.findall(r"`(\w+)`", fields)}
    for kind, fields in re.findall(r"^\| `(\w+)` \| (`[^|]*) \|", PAGE.partition("| `event` |")[2], re.MULTILINE)
}
SMALL = ["-s", "64x64", "--steps", "3", "--seed", "1"]


def read(text: str) -> list[dict[str, Any]]:
    """The events on a standard error that has nothing else; each with the fields that the page says."""
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        assert set(event) == DOCUMENTED[event["event"]]
    return events


@pytest.fixture
def dump(glmimg: Run, tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "x.tokens.json"
    assert glmimg("tokens", "x", "-m", tiny, *SMALL[:2], "--seed", "1", "-q", "-o", path).status == 0
    return path


def test_a_picture_is_told_from_loading_to_saving(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    drawn = glmimg("t2i", "x", "-m", tiny, *SMALL, "-o", tmp_path / "x.png", "--events", "--json")
    assert drawn.status == 0
    (result,) = drawn.out.splitlines()
    assert json.loads(result)["picture"] == str(tmp_path / "x.png")
    events = read(drawn.err)
    assert list(dict.fromkeys(event["event"] for event in events)) == [
        *("note", "loading", "started", "tokens", "preview", "saved", "step")
    ]
    assert [event["number"] for event in events if event["event"] == "step"][-1] == 3
    last = [event for event in events if event["event"] == "tokens"][-1]
    assert last["number"] == last["total"]
    saved = [event["path"] for event in events if event["event"] == "saved"]
    assert saved == [str(tmp_path / "x.tokens.json"), str(tmp_path / "x.png")]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("decode {dump} --steps 2 -o {out}.png", "saved"),
        ("redraw {dump} --seed 2 --box 0,0,32,32 -o {out}.json", "saved"),
        ("score {dump} -o {out}.json", "saved"),
        ("explore x -n 2 -s 64x64 --steps 1 --seed 1 --pick 2 -o {out}.png", "saved"),
    ],
)
def test_every_long_command_tells(glmimg: Run, tiny: Path, tmp_path: Path, dump: Path, line: str, last: str) -> None:
    words = line.format(dump=dump, out=tmp_path / "out").split()
    drawn = glmimg(*words, "-m", tiny, "--events", "-q")
    assert drawn.status == 0, drawn.err
    events = read(drawn.err)
    assert {"loading", last} <= {event["event"] for event in events}
    assert "note" not in {event["event"] for event in events}


def test_all_commands_with_a_bar_take_it_and_batch_does_not() -> None:
    commands = everything()["commands"]
    takers = {name for name in commands if "events" in [each.get("knob") for each in commands[name]["options"]]}
    drawing = {"t2i", "edit", "explore", "replay", "tokens", "resume", "decode", "encode", "score", "redraw"}
    assert takers == {*drawing, "models pull", "paste"}


def test_an_error_is_an_event_too(glmimg: Run, tmp_path: Path) -> None:
    failed = glmimg("t2i", "x", "-m", tmp_path / "no-model", "--events")
    assert failed.status == 4
    (event,) = read(failed.err)
    assert event["exit_code"] == 4
    assert "no-model" in event["message"]


def test_through_a_worker_too(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed: no worker was started")
    line = ["t2i", "x", "-m", tiny, *SMALL, "-o", tmp_path / "x.png", "--events", "--keep", "1s"]
    drawn = run_program(*line)
    assert drawn.returncode == 0, drawn.stderr
    assert {"tokens", "preview", "step", "saved"} <= {event["event"] for event in read(drawn.stderr)}


def test_a_fetch_tells_its_bytes(tiny: Path, tmp_path: Path) -> None:
    with serving() as hub:
        hub.publish("some/model", tiny)
        pulled = run_program("models", "pull", "some/model", "--events", env=hub.environment(tmp_path))
    assert pulled.returncode == 0, pulled.stderr
    events = read(pulled.stderr)
    size = sum(path.stat().st_size for path in tiny.rglob("*.safetensors"))
    assert max(event["number"] for event in events if event["unit"] == "B") >= size


def test_steps_under_way_are_told_ten_times_a_second_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    with EventLines(Console(events=True)) as lines:
        for number in range(1, 1001):
            lines(StepDone(number, 1000))
    told = [json.loads(line)["number"] for line in capsys.readouterr().err.splitlines()]
    assert told[0] == 1
    assert told[-1] == 1000
    assert len(told) < 50
