"""`--negative`: quoted words that the unguided branch writes, through every command that paints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glmimg as package
from glmimg.image_io import read_provenance
from glmimg.tokens.dump_file import read_dump
from tests.conftest import Outcome

Run = Callable[..., Outcome]

NEGATIVE = "no “SALE”, nor 'now'"
DRAW = ("a sign 'OPEN'", "-s", "64x96", "--seed", "5", "--steps", "2")


def pixels(path: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(path))


def test_every_way_paints_the_same(glmimg: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, more in (("without.png", ()), ("with.png", ("--negative", NEGATIVE))):
        drawn = glmimg("t2i", *DRAW, "-m", tiny, "-o", name, *more)
        assert drawn.status == 0, drawn.err
    assert not np.array_equal(pixels("with.png"), pixels("without.png"))
    assert "negative" not in read_provenance(Path("without.png")).job.model_dump(mode="json")
    dump = read_dump(Path("with.tokens.json"))
    assert dump.target == read_dump(Path("without.tokens.json")).target, "stage 1 reads none of it"
    assert dump.painting is not None
    assert dump.painting.negative == NEGATIVE
    for command, more in (("decode", "with.tokens.json"), ("decode", "with.png"), ("replay", "with.png")):
        assert glmimg(command, more, "-m", tiny, "-o", "again.png", "-f").status == 0
        assert Path("again.png").read_bytes() == Path("with.png").read_bytes(), command
    assert glmimg("replay", "with.png", "-o", "off.png", "--negative", "").status == 0
    assert np.array_equal(pixels("off.png"), pixels("without.png"))
    line = {"prompt": DRAW[0], "size": "64x96", "seed": 5, "steps": 2, "negative": NEGATIVE, "name": "x"}
    Path("jobs.jsonl").write_text(json.dumps(line))
    assert glmimg("batch", "jobs.jsonl", "-o", "out", "-m", tiny).status == 0
    assert np.array_equal(pixels("out/x.png"), pixels("with.png"))
    with package.load(str(tiny)) as model:
        drawn = model.draw(DRAW[0], size="64x96", seed=5, steps=2, negative=NEGATIVE)
    assert np.array_equal(np.asarray(drawn.image), pixels("with.png"))


@pytest.mark.parametrize(
    ("more", "reason", "hint"),
    [
        (("--negative", "blurry, ugly"), "--negative blurry, ugly: it quotes no words", "say the rest in the prompt"),
        (("--negative", "''"), "it quotes no words", "Quote the words to avoid"),
        (("--negative", "'SALE'", "--guidance", "1"), "without guidance nothing reads it", "Leave one out"),
    ],
)
def test_what_cannot_be_is_refused(
    glmimg: Run, tiny: Path, tmp_path: Path, more: tuple[str, ...], reason: str, hint: str
) -> None:
    refused = glmimg("t2i", *DRAW, "-m", tiny, "-o", tmp_path / "x.png", *more)
    assert (refused.status, refused.out) == (2, "")
    assert reason in refused.err
    assert hint in refused.err


def test_a_job_line_without_quotes_is_named(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"prompt": "x", "negative": "blurry"}\n')
    refused = glmimg("batch", jobs, "-o", tmp_path / "out", "-m", tiny)
    assert refused.status == 3
    assert "line 1: negative: it quotes no words" in refused.err
