"""NaN or infinity in any part of a checkpoint: exit 1, the step, no picture; what was finished before stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import Outcome

Run = Callable[..., Outcome]
SMALL = ["-s", "64x64", "--seed", "3"]


def spoil(tiny: Path, folder: Path, part: str, weight: str, value: float = float("nan")) -> Path:
    """A copy of a checkpoint with one number of one weight changed."""
    spoilt = folder / "spoilt"
    shutil.copytree(tiny, spoilt)
    (file,) = (spoilt / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(each for each in weights if weight in each)
    weights[name].view(-1)[0] = value
    save_file(weights, file, metadata={"format": "pt"})
    return spoilt


def assert_ended(outcome: Outcome, *words: str) -> None:
    assert outcome.status == 1, outcome
    assert "not finite" in outcome.err
    assert "--dtype fp32" in outcome.err
    assert "Traceback" not in outcome.err
    assert "bug" not in outcome.err
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["sequential", "jacobi"])
def test_stage_1_writes_no_dump(glmimg: Run, tiny: Path, tmp_path: Path, method: str, value: float) -> None:
    model = spoil(tiny, tmp_path, "vision_language_encoder", "language_model.norm.weight", value)
    drawn = glmimg("t2i", "x", "-m", model, *SMALL, "--ar-method", method, "-o", tmp_path / "x.png")
    assert_ended(drawn, "token 1 of 256 of the preview grid")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spoilt"]


PAINTING = {
    "transformer": ("transformer", "proj_out.weight", "x", "denoising step 1 of 2"),
    "glyph encoder": ("text_encoder", "shared.weight", "a sign that says 'A'", "denoising step 1 of 2"),
    "vae decoder": ("vae", "decoder.conv_out.weight", "x", "the decoded pixels"),
}


@pytest.mark.parametrize("part", PAINTING)
def test_stage_2_saves_no_picture_and_keeps_the_dump(glmimg: Run, tiny: Path, tmp_path: Path, part: str) -> None:
    folder, weight, prompt, step = PAINTING[part]
    model = spoil(tiny, tmp_path, folder, weight)
    if part == "glyph encoder":
        spoil_all(model / folder, weight)
    drawn = glmimg("t2i", prompt, "-m", model, *SMALL, "--steps", "2", "-o", tmp_path / "x.png")
    assert_ended(drawn, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spoilt", "x.tokens.json"]


def spoil_all(folder: Path, weight: str) -> None:
    """Every row of an embedding, since a prompt reads a few of them."""
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    for name in weights:
        if weight in name:
            weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, file, metadata={"format": "pt"})


def test_a_source_picture_the_vision_encoder_cannot_read(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    model = spoil(tiny, tmp_path, "vision_language_encoder", "visual.patch_embed.proj.weight")
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / "s.png")
    edited = glmimg("edit", "x", "-i", tmp_path / "s.png", "-m", model, *SMALL, "-o", tmp_path / "x.png")
    assert_ended(edited, "vision encoder")
    assert_ended(glmimg("encode", tmp_path / "s.png", "-m", model), "vision encoder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.png", "spoilt"]


def test_a_redraw_and_a_score(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    dump = tmp_path / "x.tokens.json"
    assert glmimg("tokens", "x", "-m", tiny, *SMALL, "-o", dump).status == 0
    model = spoil(tiny, tmp_path, "vision_language_encoder", "language_model.norm.weight")
    document = json.loads(dump.read_text())
    document["model"]["fingerprint"] = "none-none"
    dump.write_text(json.dumps(document))
    out = tmp_path / "y.tokens.json"
    redrawn = glmimg("redraw", dump, "--box", "32,32,64,64", "-m", model, "-o", out)
    assert_ended(redrawn, "of the preview grid")
    assert_ended(glmimg("score", dump, "-m", model, "-o", out), "the logits of tokens 1 to")
    assert not out.exists()


def test_a_batch_records_it_and_goes_on(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    model = spoil(tiny, tmp_path, "vae", "decoder.conv_out.weight")
    (tmp_path / "jobs.txt").write_text("a\nb\n")
    ran = glmimg("batch", tmp_path / "jobs.txt", "-m", model, "-s", "64x64", "--steps", "1", "-o", tmp_path / "out")
    assert ran.status == 1
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["failed", "failed"]
    assert all("the decoded pixels are not finite" in record["error"] for record in records)
    assert not list((tmp_path / "out").glob("*.png"))
