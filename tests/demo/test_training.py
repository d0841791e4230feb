"""Training can go on from the weights that are shipped: taken apart and put together again they are the same."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from glmimg.demo import demo_path
from glmimg.demo.train.ar import make_optimizers, resume
from glmimg.demo.train.assemble import SHIPPED_STEPS, take_apart, trained_ar, trained_steps
from glmimg.demo.train.codebook import load_codebook
from glmimg.demo.train.dit_model import build_dit, build_glyph_encoder
from glmimg.demo.train.progress import load_state
from glmimg.demo.train.vae import build_vae


def test_the_shipped_weights_are_a_state_to_train_on(tmp_path: Path) -> None:
    take_apart(demo_path(), tmp_path, SHIPPED_STEPS)
    assert trained_steps(tmp_path) == SHIPPED_STEPS
    codebook = load_codebook(tmp_path / "codebook.npz")
    model = trained_ar(tmp_path, codebook)
    shipped = load_file(demo_path() / "vision_language_encoder" / "model.safetensors")
    again = model.bfloat16().state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in shipped.items())
    assert resume(tmp_path / "ar.pt", model, make_optimizers(model)) == SHIPPED_STEPS["ar"]
    dit, vae = load_state(tmp_path / "dit.pt") or {}, load_state(tmp_path / "vae.pt") or {}
    build_dit(codebook).load_state_dict(dit["model"])
    build_glyph_encoder().load_state_dict(dit["glyph"])
    build_vae().load_state_dict(vae["model"])
