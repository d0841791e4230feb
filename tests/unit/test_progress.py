"""What progress says where no terminal shows a bar, and when all is done."""

from __future__ import annotations

from pathlib import Path
from time import sleep

import pytest

from glmimg.cli import progress
from glmimg.cli.console import Console
from glmimg.cli.progress import ProgressLine, closing_line, duration
from glmimg.events import Event, JobStarted, Loading, Saved, StepDone


def test_how_long_it_took() -> None:
    assert [duration(seconds) for seconds in (3.21, 47.4, 245, 7380)] == ["3.2 s", "47 s", "4 min 5 s", "2 h 3 min"]


def test_the_closing_line() -> None:
    names = ["a.png", "a.tokens.json", "b.png", "b.tokens.json"]
    assert closing_line([Path(name) for name in names], 12) == "2 pictures and 2 dumps in 12 s"
    assert closing_line([Path("out") / names[0]], 1) == "1 picture in 1.0 s, in out"
    assert closing_line([Path("x/a.png"), Path("y/b.png")], 1) == "2 pictures in 1.0 s, in 2 folders"


@pytest.mark.parametrize(("verbose", "first"), [(False, 60), (True, 10)])
def test_a_long_step_says_how_far_it_is(
    verbose: bool, first: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    with ProgressLine(Console(verbose=verbose)) as line:
        line(JobStarted("picture", 1, 2))
        for number in range(1, 12):
            line(StepDone(number, 12))
            now += 10
        line(Saved(Path("a.png")))
        line(Saved(Path("b.png")))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"picture 1/2: denoising {1 + first // 10}/12, {duration(first)} since the start"
    assert len(said) == 1 + (100 - first) // 10 + 1
    assert said[-1] == "2 pictures in 1 min 50 s"


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ([Loading("AR model")], "loading AR model"),
        ([JobStarted("tokens", 1, 1)], "tokens: preparing"),
        ([JobStarted("picture", 1, 1), StepDone(2, 2)], "picture: painting the pixels"),
        ([JobStarted("picture", 1, 1), StepDone(1, 9)], "picture: denoising 1/9"),
    ],
)
def test_what_tells_nothing_itself_is_told_of(
    before: list[Event], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stage that works on without a word; what is done by then is told of no longer."""
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    monkeypatch.setattr(progress, "LONG_STEP", 0.1)
    with ProgressLine(Console()) as line:
        for event in before:
            line(event)
        sleep(0.6)
        line(Saved(Path("a.png")))
        told = capsys.readouterr().err.splitlines()
        sleep(0.3)
        assert not capsys.readouterr().err
    assert len(told) >= 2
    assert all(each.startswith(f"{said}, ") and each.endswith(" since the start") for each in told)


def test_who_wants_quiet_has_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setattr(progress, "LONG_STEP", 0.0)
    with ProgressLine(Console(quiet=True)) as line:
        line(Loading("AR model"))
        sleep(0.1)
    assert not capsys.readouterr().err
