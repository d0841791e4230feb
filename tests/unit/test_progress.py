"""What progress says where no terminal shows a bar, and when all is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmimg.cli import progress
from glmimg.cli.console import Console
from glmimg.cli.progress import ProgressLine, closing_line, duration
from glmimg.events import JobStarted, Saved, StepDone


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
