"""A model of a small world says once what it draws, when it is asked for something else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glmimg.cli.world import World
from glmimg.demo import demo_path
from glmimg.demo.train.speech import random_speech
from glmimg.demo.train.world import NOTE, save_world
from tests.conftest import Outcome
from tests.demo.cases import edit_cases, prompt_cases

Glmimg = Callable[..., Outcome]


def test_the_note_comes_once_with_an_example(glmimg: Glmimg, tmp_path: Path) -> None:
    drawn = glmimg("t2i", "a cat", "a red Cat under a tree", "-m", "demo", "--dry-run", "-o", tmp_path / "x.png")
    assert drawn.status == 0
    note = " ".join(drawn.err.split())
    assert note.count(NOTE) == 1
    assert "does not know cat, Cat, tree" in note
    assert "Try: a red circle on the left on a blue background" in note


@pytest.mark.parametrize("prompt", ["two red Circles, please!", "the word 'CAT' on white", "a star on 「OK」"])
def test_what_it_knows_needs_no_note(glmimg: Glmimg, tmp_path: Path, prompt: str) -> None:
    assert NOTE not in " ".join(glmimg("t2i", prompt, "-m", "demo", "--dry-run", "-o", tmp_path / "x.png").err.split())


@pytest.mark.parametrize("quote", ["'open'", '"SEVENTY"', "「OPEN 1」"])
def test_quotes_it_cannot_write_are_named(glmimg: Glmimg, tmp_path: Path, quote: str) -> None:
    drawn = glmimg("t2i", f"the word {quote} on red", "-m", "demo", "--dry-run", "-o", tmp_path / "x.png")
    assert f"it does not know {quote}. Try:" in " ".join(drawn.err.split())


def test_a_batch_says_it_of_prompts_as_they_were_written(glmimg: Glmimg, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.txt"
    for prompt, says in (("a dog", True), ("a red circle", False)):
        jobs.write_text(f"{prompt}\n")
        drawn = glmimg("batch", jobs, "-m", "demo", "-p", "keep-face", "--dry-run", "-o", tmp_path / "o")
        assert (NOTE in " ".join(drawn.err.split())) is says


def test_other_models_and_files_of_others_say_nothing(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for path in tiny.iterdir():
        (odd / path.name).symlink_to(path)
    (odd / "world.json").write_text('["not", "a", "world"]')
    for model in (tiny, odd):
        drawn = glmimg("t2i", "a cat", "-m", model, "-s", "64x64", "--dry-run", "-o", tmp_path / "x.png")
        assert drawn.status == 0
        assert "does not know" not in drawn.err


def test_captions_and_edits_never_trained_on_are_known() -> None:
    world, rng = World.model_validate_json((demo_path() / "world.json").read_bytes()), random.Random(8)
    said = [case.text for case in (*prompt_cases("", 100), *edit_cases("", 100))]
    said += [random_speech(rng, held_out=True).text for _ in range(200)]  # words of one to six capitals among them
    assert world.foreign(said) == []


def test_the_shipped_words_are_those_of_the_recipe(tmp_path: Path) -> None:
    save_world(tmp_path)
    assert json.loads((tmp_path / "world.json").read_text()) == json.loads((demo_path() / "world.json").read_text())


def test_it_is_said_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from glmimg.cli.console import Console; from glmimg.cli import world\n"
        f"world.note_foreign_words(['a cat'], Path({str(demo_path())!r}), Console()); print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
    assert "cat" in said.stderr
