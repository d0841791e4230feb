"""Ways to paint with fewer passes: what they leave out, and how near they stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.dit import stage as dit_stage
from glmimg.dit.schedule import set_timesteps, switch_scheduler
from glmimg.dit.stage import DiTStage
from glmimg.engine.orders import Order
from glmimg.job import Painting, Scheduler
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.tokens.dump import TokenDump
from tests.jobs import make_desk, make_job, make_painting, make_sampling


@pytest.fixture(scope="module")
def painter(tiny: Path) -> tuple[DiTStage, TokenDump]:
    checkpoint = Checkpoint("tiny", tiny)
    job = make_job(
        prompt="a tree", height=64, width=64, seed=4, dit_seed=4, steps=1, guidance=1.5,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )  # fmt: skip
    dump = next(make_desk(checkpoint, ModelChoice()).write([Order(job)])).dump
    placement = Placement(torch.device("cpu"), torch.float32)
    return DiTStage.load(checkpoint, placement, lambda event: None), dump


def paint(painter: tuple[DiTStage, TokenDump], settings: Painting) -> np.ndarray:
    stage, dump = painter
    return np.asarray(stage.paint(dump, settings, lambda event: None)).astype(float)


@pytest.mark.parametrize(("scheduler", "steps"), [("heun", 6), ("unipc", 12), ("dpm", 12)])
def test_second_order_comes_nearer_for_as_many_passes(
    painter: tuple[DiTStage, TokenDump], scheduler: Scheduler, steps: int
) -> None:
    exact = paint(painter, make_painting(4, 100, 1.5))
    euler = paint(painter, make_painting(4, 12, 1.5))
    other = paint(painter, make_painting(4, steps, 1.5, scheduler=scheduler))
    assert np.square(other - exact).mean() < np.square(euler - exact).mean()


def test_all_solvers_tell_the_model_the_same_timesteps(painter: tuple[DiTStage, TokenDump]) -> None:
    """The model counts evenly while noise levels are shifted; a solver's own timesteps would be wrong ones."""
    euler = painter[0].parts.scheduler
    set_timesteps(euler, 5, 256, torch.device("cpu"))
    for name in ("unipc", "dpm"):
        solver, timesteps = switch_scheduler(euler, name)
        assert torch.equal(timesteps, euler.timesteps)
        assert torch.allclose(solver.sigmas, euler.sigmas, atol=2e-6)
    assert len(switch_scheduler(euler, "heun")[1]) == 9


@pytest.mark.parametrize(("window", "guided"), [(None, 10), ((0.0, 1.0), 10), ((0.2, 0.7), 5), ((0.0, 0.05), 1)])
def test_a_window_leaves_passes_out(
    painter: tuple[DiTStage, TokenDump],
    monkeypatch: pytest.MonkeyPatch,
    window: tuple[float, float] | None,
    guided: int,
) -> None:
    from glmimg.dit import denoise

    passes: list[int] = []
    predict = denoise.predict_noise

    def counting(transformer, latents, branches, *rest):  # type: ignore[no-untyped-def]
        passes.append(len(branches))
        return predict(transformer, latents, branches, *rest)

    monkeypatch.setattr(denoise, "predict_noise", counting)
    paint(painter, make_painting(4, 10, 1.5, guidance_window=window))
    assert len(passes) == 10
    assert passes.count(2) == guided


def test_a_cache_runs_fewer_blocks_and_starts_anew_for_each_picture(painter: tuple[DiTStage, TokenDump]) -> None:
    pytest.importorskip("cache_dit")
    calls = 0

    def count(module: torch.nn.Module, arguments: object) -> None:
        nonlocal calls
        calls += 1

    hooks = [block.register_forward_pre_hook(count) for block in painter[0].parts.transformer.transformer_blocks]
    counts, pictures = [], []
    for cache in (None, 1.0, 1.0, None):
        calls = 0
        pictures.append(paint(painter, make_painting(4, 20, 1.5, cache=cache)))
        counts.append(calls)
    for hook in hooks:
        hook.remove()
    assert counts[0] == counts[3] == 20 * 2 * 2
    assert counts[1] == counts[2] < counts[0]
    assert np.array_equal(pictures[1], pictures[2])
    assert np.array_equal(pictures[0], pictures[3])


def test_the_stage_uses_the_scheduler_asked_for(
    painter: tuple[DiTStage, TokenDump], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def noting(euler: object, name: str) -> object:
        names.append(name)
        return switch_scheduler(euler, name)  # type: ignore[arg-type]

    monkeypatch.setattr(dit_stage, "switch_scheduler", noting)
    paint(painter, make_painting(4, 2, 1.0, scheduler="unipc"))
    assert names == ["unipc"]
