"""What people type who have not read the help page, and text of others on the terminal."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glmimg import errors
from glmimg.cli.console import Console
from tests.conftest import Outcome

Glmimg = Callable[..., Outcome]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\nerror: all is lost [/red][bold]:smile:\x9b1m\u202e"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["a red circle"], ["there is no command 'a red circle'", "glmimg t2i 'a red circle'"]),
        (["t2i", "x", "--width", "512"], ["no option --width", "--size WIDTHxHEIGHT"]),
        (["t2i", "x", "--cfg-scale=3"], ["no option --cfg-scale", "--guidance X"]),
        (["t2i", "x", "-m", "~nosuch/x"], ["no such directory"]),
        (["t2i", "x", "-m", "demo", "--device", "cuda:"], ["no such device"]),
        (["t2i", "x", "-m", "demo", "--device", "cuda:99999999999999999999"], ["no such device"]),
        (["t2i", "<|image|>", "-m", "demo"], ["the prompt '<|image|>' contains"]),
        (["t2i", "x", "-m", "demo", "-o", "{index:{seed}}.png"], ["not a plain field"]),
        (["t2i", "x", "-m", "demo", "-o", "{seed!r}.png"], ["not a plain field"]),
        (["t2i", "x", "-m", "demo", "--preview-out", "r.tokens.json", "-o", "r.png"], ["cannot be written as .json"]),
        (["t2i", "x", "-m", "demo", "--tokens-out", "new/../q.png", "-o", "q.png"], ["a token dump is JSON"]),
        (["t2i", "x", "-m", "demo", "--preview-out", "r.png", "-o", "r.png"], ["written 2 times"]),
        (["t2i", "x", "-m", "demo", "--tokens-out", "new/../q", "-o", "q"], ["written 2 times"]),
    ],
)
def test_a_guess_is_answered_with_what_to_type(
    glmimg: Glmimg, line: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = glmimg(*line)
    assert outcome.status in (2, 4), outcome
    assert all(word in outcome.err for word in words), outcome.err
    assert "bug" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_prompt(glmimg: Glmimg, tmp_path: Path) -> None:
    listed = tmp_path / "my prompts.txt"
    listed.write_text("a red circle\n")
    outcome = glmimg("t2i", "-f", listed, "-m", "demo")
    assert (outcome.status, f"--prompts '{listed}'" in outcome.err) == (2, True), outcome


@pytest.mark.parametrize("line", [["help"], ["help", "t2i"], ["help", "models"]])
def test_help_is_a_command_too(glmimg: Glmimg, line: list[str]) -> None:
    outcome = glmimg(*line)
    assert (outcome.status, "Usage:" in outcome.out) == (0, True)
    assert outcome.out == glmimg(*line[1:], "--help").out


def test_a_prompt_with_a_dash_a_random_seed_and_a_new_folder(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "x.png"
    outcome = glmimg("t2i", "- a list", "-m", tiny, "--steps", "1", "-s", "64", "--seed", "-1", "-o", out, "--json")
    assert outcome.status == 0, outcome.err
    drawn = json.loads(outcome.out)
    assert (drawn["prompt"], drawn["width"], drawn["height"]) == ("- a list", 64, 64)
    assert 0 <= drawn["seed"] < 2**31
    assert out.is_file()


def test_one_word_a_prompt_looks_like_a_prompt_without_quotes(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    rest = ("-m", tiny, "--steps", "1", "-s", "64", "-o", f"{tmp_path}/{{index}}.png")
    assert "glmimg t2i 'a red circle'" in glmimg("t2i", "a", "red", "circle", *rest).err
    assert "quote" not in glmimg("t2i", "a red", "circle", "square", *rest, "--force").err


def some_errors() -> Iterator[errors.GlmimgError]:
    """One error of every class, each with hostile text wherever it takes text."""
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.GlmimgError):
            given = [
                [(1, HOSTILE)] if each.name == "lines" else HOSTILE
                for each in inspect.signature(kind).parameters.values()
                if each.kind is each.POSITIONAL_OR_KEYWORD
            ]
            yield kind(*given)


@pytest.mark.parametrize("error", [*some_errors()], ids=lambda error: type(error).__name__)
def test_no_foreign_text_drives_the_terminal_or_passes_for_ours(
    error: errors.GlmimgError, capsys: pytest.CaptureFixture[str]
) -> None:
    Console().error(error)
    Console().note(HOSTILE)
    shown = capsys.readouterr().err
    assert not set(shown) & set("\x1b\x07\x9b\u202e\r")
    assert "[/red][bold]:smile:" in shown
    assert sum(line.startswith("error: ") for line in shown.splitlines()) == 1, shown
