"""`--mask`: outside of it an edit is its first source, pixel for pixel, however it is painted."""

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
from tests.pictures import gradient

Run = Callable[..., Outcome]


@pytest.fixture
def disc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A source a.png, and m.png, which is white in a disc. Returns where it is white."""
    monkeypatch.chdir(tmp_path)
    gradient(128, 96).save("a.png")
    y, x = np.mgrid[0:96, 0:128]
    white: np.ndarray = (x - 70) ** 2 + (y - 40) ** 2 < 30**2
    Image.fromarray((255 * white).astype(np.uint8)).save("m.png")
    return white


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def edit(glmimg: Run, tiny: Path, *arguments: str) -> Outcome:
    return glmimg("edit", "a hat", "-i", "a.png", "-m", tiny, "--seed", "5", "--steps", "1", *arguments)


def test_every_way_keeps_what_is_outside(glmimg: Run, tiny: Path, disc: np.ndarray) -> None:
    assert edit(glmimg, tiny, "-o", "whole.png").status == 0
    assert edit(glmimg, tiny, "-o", "masked.png", "--mask", "m.png").status == 0
    source, whole, masked = map(pixels, ("a.png", "whole.png", "masked.png"))
    assert np.array_equal(masked[~disc], source[~disc])
    assert np.array_equal(masked[disc], whole[disc])
    assert (whole[~disc] != source[~disc]).any()
    Path("m.png").unlink()  # the mask has travelled
    for command, name in (("decode", "masked.tokens.json"), ("decode", "masked.png"), ("replay", "masked.png")):
        again = glmimg(command, name, "-m", tiny, "-o", "again.png", "-f")
        assert again.status == 0, again.err
        assert Path("again.png").read_bytes() == Path("masked.png").read_bytes(), command
    assert glmimg("replay", "masked.png", "--mask", "", "-o", "off.png").status == 0
    assert np.array_equal(pixels("off.png"), whole)
    shown = glmimg("inspect", "masked.png")
    assert "m.png" in shown.out
    assert "glmimg replay masked.png" in shown.out
    line = {"prompt": "a hat", "sources": ["a.png"], "seed": 5, "steps": 1, "mask": "0,0,64,96", "name": "x"}
    Path("jobs.jsonl").write_text(json.dumps(line))
    assert glmimg("batch", "jobs.jsonl", "-o", "out", "-m", tiny).status == 0
    assert np.array_equal(pixels("out/x.png")[:, 64:], source[:, 64:])
    assert np.array_equal(pixels("out/x.png")[:, :64], whole[:, :64])
    with package.load(str(tiny)) as model:
        drawn = model.draw("a hat", sources="a.png", seed=5, steps=1, mask="0,0,64,96")
        assert np.array_equal(np.asarray(drawn.image), pixels("out/x.png"))
        assert drawn.dump is not None
        assert np.array_equal(np.asarray(model.paint(drawn.dump).image), pixels("out/x.png"))


def test_a_feathered_edge_lies_within_the_mask(glmimg: Run, tiny: Path, disc: np.ndarray) -> None:
    assert edit(glmimg, tiny, "-o", "whole.png").status == 0
    assert edit(glmimg, tiny, "-o", "soft.png", "--mask", "m.png", "--feather", "8").status == 0
    source, whole, soft = map(pixels, ("a.png", "whole.png", "soft.png"))
    assert np.array_equal(soft[~disc], source[~disc]), "outside is kept also where the edge is soft"
    y, x = np.mgrid[0:96, 0:128]
    deep = (x - 70) ** 2 + (y - 40) ** 2 < 20**2
    assert np.array_equal(soft[deep], whole[deep])
    ring = disc & ~deep
    low, high = np.minimum(source, whole)[ring].astype(int), np.maximum(source, whole)[ring].astype(int)
    assert ((soft[ring] >= low - 1) & (soft[ring] <= high + 1)).all()
    assert (soft[ring] != whole[ring]).any()
    assert read_provenance(Path("soft.png")).job.painting.feather == 8


def test_a_smaller_picture_and_a_mask_of_the_source_are_fitted(glmimg: Run, tiny: Path, disc: np.ndarray) -> None:
    """The source is 128x96, the mask twice that, the picture half."""
    Image.open("m.png").resize((256, 192), Image.Resampling.NEAREST).save("m.png")
    assert edit(glmimg, tiny, "-o", "half.png", "--mask", "m.png", "-s", "64x64").status == 3
    assert edit(glmimg, tiny, "-o", "half.png", "--mask", "m.png", "-s", "256x192").status == 0
    fitted = np.asarray(Image.open("a.png").resize((256, 192), Image.Resampling.LANCZOS))
    outside = ~np.repeat(np.repeat(disc, 2, 0), 2, 1)
    assert np.array_equal(pixels("half.png")[outside], fitted[outside])


@pytest.mark.parametrize(
    ("more", "status", "reason"),
    [
        (("--mask", "m.png", "-s", "96x128"), 3, "this mask is 128x96 pixels, but the picture is 96x128"),
        (("--mask", "m.png", "-s", "96x128"), 3, "the picture's shape, in any size."),
        (("--mask", "0,0,32,32", "-s", "96x128"), 2, "a picture of another shape keeps nothing of it"),
        (("--mask", "gone.png"), 3, "gone.png"),
        (("--mask", "0,0,999,32"), 2, "reaches outside the picture"),
        (("--mask", "m.png", "--feather", "999"), 2, "--feather"),
        (("--mask", "ragged.png"), 3, "too ragged"),
    ],
)
def test_what_cannot_be_is_refused(
    glmimg: Run, tiny: Path, disc: np.ndarray, more: tuple[str, ...], status: int, reason: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (1536, 2048), np.uint8) * 255
    Image.fromarray(noise).save("ragged.png")
    size = ("-s", "2048x1536") if "ragged.png" in more else ()
    refused = edit(glmimg, tiny, "-o", "x.png", *more, *size)
    assert (refused.status, refused.out) == (status, "")
    assert reason in refused.err


def test_without_sources_there_is_nothing_to_keep(glmimg: Run, tiny: Path, disc: np.ndarray) -> None:
    refused = glmimg("tokens", "a hat", "-m", tiny, "-s", "128x96", "--mask", "m.png", "-o", "x.tokens.json")
    assert refused.status == 2
    assert "there is no source picture" in refused.err


def test_a_mask_that_was_tampered_with_is_refused(glmimg: Run, tiny: Path, disc: np.ndarray) -> None:
    assert edit(glmimg, tiny, "-o", "x.png", "--mask", "m.png").status == 0
    record = json.loads(Path("x.tokens.json").read_text())
    small = read_dump(Path("x.tokens.json")).painting
    assert small is not None
    assert small.mask is not None
    for png in ("AAAA", small.mask.png[:80], "iVBORw0KGgo"):
        record["painting"]["mask"]["png"] = png
        Path("bad.tokens.json").write_text(json.dumps(record))
        refused = glmimg("decode", "bad.tokens.json", "-m", tiny, "-o", "y.png")
        assert (refused.status, refused.out) == (3, "")
        assert "the mask m.png" in refused.err
