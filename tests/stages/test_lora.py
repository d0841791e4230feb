"""Adapters: each changes its half, by its scale, is recorded, and is refused when it fits another model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from glmimg.choice import ModelChoice
from glmimg.engine.orders import Order, Painted
from glmimg.errors import BadInput, UsageError
from glmimg.runtime import lora
from glmimg.runtime.adapter import CONFIG
from glmimg.runtime.checkpoint import Checkpoint
from tests.jobs import make_desk, make_job, make_sampling

DIT_TARGET = "transformer.transformer_blocks.0.attn1.to_q"
AR_TARGET = "base_model.model.model.language_model.layers.0.self_attn.q_proj"


def write_lora(folder: Path, target: str, rows: int, columns: int) -> Path:
    """An adapter of rank 2 that changes one module strongly."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"{target}.lora_A.weight": torch.randn(2, columns, generator=generator),
        f"{target}.lora_B.weight": torch.randn(rows, 2, generator=generator),
    }
    is_ar = target.startswith("base_model")
    file = folder / ("adapter_model.safetensors" if is_ar else "pytorch_lora_weights.safetensors")
    save_file(weights, file)
    if is_ar:
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["layers.0.self_attn.q_proj"]}
        (folder / CONFIG).write_text(json.dumps(config))
    return folder


def draw(tiny: Path, *loras: str) -> Painted:
    job = make_job(
        prompt="a tree", height=64, width=64, seed=4, dit_seed=4, steps=2, guidance=1.5,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )  # fmt: skip
    return next(make_desk(Checkpoint("tiny", tiny), ModelChoice(lora=loras)).draw([Order(job)]))


def pixels(painted: Painted) -> np.ndarray:
    return np.asarray(painted.picture.image)


def test_an_adapter_of_the_dit_changes_pixels_by_its_scale(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    style = str(write_lora(tmp_path / "style", DIT_TARGET, 32, 32))
    plain, full, none = draw(tiny), draw(tiny, style), draw(tiny, f"{style}:0")
    assert full.order.dump.target == plain.order.dump.target
    assert not np.array_equal(pixels(full), pixels(plain))
    assert np.array_equal(pixels(none), pixels(plain))
    assert full.picture.provenance.changes == [f"lora {style}"]


def test_an_adapter_of_the_ar_half_changes_tokens(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    words = str(write_lora(tmp_path / "words", AR_TARGET, 32, 32))
    plain, changed, none = draw(tiny), draw(tiny, f"{words}:5"), draw(tiny, f"{words}:0")
    assert changed.order.dump.target != plain.order.dump.target
    assert none.order.dump.target == plain.order.dump.target
    assert changed.order.dump.model.changes == [f"lora {words}:5"]


def test_an_adapter_for_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    wide = str(write_lora(tmp_path / "wide", DIT_TARGET, 64, 64))
    with pytest.raises(BadInput, match="32x32 there and 64x64 here"):
        draw(tiny, wide)
    deep = str(write_lora(tmp_path / "deep", DIT_TARGET.replace(".0.", ".9."), 32, 32))
    with pytest.raises(BadInput, match="does not have"):
        draw(tiny, deep)


@pytest.mark.parametrize(("said", "error"), [("x.safetensors", BadInput), ("x:loud", UsageError), ("x:99", UsageError)])
def test_what_is_no_adapter(monkeypatch: pytest.MonkeyPatch, said: str, error: type[Exception]) -> None:
    monkeypatch.setattr(lora, "find_spec", lambda name: object())
    with pytest.raises(error):
        lora.find_loras([said])


def test_a_file_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "find_spec", lambda name: object())
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    for name in ("other", "text"):
        with pytest.raises(BadInput):
            lora.find_loras([str(tmp_path / f"{name}.safetensors")])


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs peft"):
        lora.find_loras(["x"])
