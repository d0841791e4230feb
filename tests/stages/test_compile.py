"""Compiled blocks and captured passes: the same picture but for rounding, only when asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.dit import blocks
from glmimg.dit.stage import DiTStage
from glmimg.engine.orders import Order
from glmimg.job import Painting
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.tokens.dump import TokenDump
from tests.conftest import Outcome
from tests.jobs import make_desk, make_job, make_painting, make_sampling

HOST = Placement(torch.device("cpu"), torch.float32)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def dump(tiny: Path) -> TokenDump:
    job = make_job(
        prompt="a sign that says 'OPEN'", height=64, width=96, seed=4, dit_seed=4, steps=2, guidance=1.5,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )  # fmt: skip
    return next(make_desk(Checkpoint("tiny", tiny), ModelChoice()).write([Order(job)])).dump


def paint(stage: DiTStage, dump: TokenDump, settings: Painting) -> np.ndarray:
    return np.asarray(stage.paint(dump, settings, lambda event: None)).astype(int)


def load(tiny: Path, **options: Any) -> DiTStage:
    return DiTStage.load(Checkpoint("tiny", tiny), HOST, lambda event: None, **options)


@needs_compiler
def test_compiled_blocks_paint_the_same_picture_but_for_rounding(tiny: Path, dump: TokenDump) -> None:
    settings = make_painting(4, 6, 1.5)
    compiled = load(tiny, compile=True)
    blocks = compiled.parts.transformer.transformer_blocks
    assert all(block._compiled_call_impl is not None for block in blocks)
    assert np.abs(paint(compiled, dump, settings) - paint(load(tiny), dump, settings)).max() <= 1


def test_nothing_is_compiled_unasked(tiny: Path) -> None:
    assert all(block._compiled_call_impl is None for block in load(tiny).parts.transformer.transformer_blocks)


def test_without_a_compiler_nothing_loads(
    glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    outcome = glmimg("t2i", "a tree", "--model", tiny, "--compile", "-o", tmp_path / "x.png")
    assert outcome.status == 2
    assert "--compile needs a C++ compiler" in outcome.err
    assert not list(tmp_path.iterdir())


@needs_compiler
def test_a_picture_says_that_it_was_compiled(
    glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path, dump: TokenDump
) -> None:
    from glmimg.image_io import read_provenance

    (tmp_path / "x.tokens.json").write_text(dump.to_json())
    options = ("--any-model", "--model", tiny, "--steps", "1", "--compile")
    assert glmimg("decode", tmp_path / "x.tokens.json", *options, "-o", tmp_path / "x.png").status == 0
    assert read_provenance(tmp_path / "x.png").changes == ["compile"]


def test_streamed_blocks_are_not_compiled(glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path) -> None:
    outcome = glmimg("t2i", "a tree", "--model", tiny, "--compile", "--memory", "stream", "-o", tmp_path / "x.png")
    assert outcome.status == 2
    assert "--memory stream cannot be combined with --compile" in outcome.err


def test_a_captured_way_reads_new_values_from_its_buffers(
    tiny: Path, dump: TokenDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the device's graphs, which run again what they recorded: the picture is the same."""
    recorded = []

    def stand_in(forward: Callable[[], Any], device: torch.device, warm_ups: int) -> Callable[[], Any]:
        recorded.append(forward)
        return forward

    monkeypatch.setattr(blocks, "capture", stand_in)
    settings = make_painting(4, 6, 1.5, guidance_window=(0.2, 0.7))
    stage = load(tiny)
    plain = paint(stage, dump, settings)
    walk = stage._runner
    monkeypatch.setattr(stage, "_runner", lambda *given, **more: blocks.captured_runner(walk(*given, **more)))
    assert np.array_equal(paint(stage, dump, settings), plain)
    assert len(recorded) == 2, "one for guided steps, one for the others"
