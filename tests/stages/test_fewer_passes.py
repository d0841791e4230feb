"""Ways to paint with fewer passes: what they leave out, and how near they stay."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.dit import stage as dit_stage
from glmimg.dit.denoise import set_timesteps, switch_scheduler
from glmimg.dit.stage import DiTStage
from glmimg.dit.stepcache import Forecast, computed_passes
from glmimg.engine.orders import Order
from glmimg.job import Painting, Scheduler, SourceRef
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump
from tests.jobs import TINY_SAMPLING, make_desk, make_job, make_painting, make_sampling
from tests.pictures import gradient


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


@pytest.mark.parametrize("passes", [1, 2, 3, 8, 12, 50, 99])
@pytest.mark.parametrize(("level", "of_fifty"), [("light", 22), ("deep", 14)])
def test_a_level_computes_the_ends_and_evenly_between(level: str, of_fifty: int, passes: int) -> None:
    computed = computed_passes(level, passes)
    assert {0, passes - 1} <= computed <= set(range(passes))
    assert len(computed_passes(level, 50)) == of_fifty
    middle = sorted(computed)[1:]
    gaps = {later - earlier for earlier, later in pairwise(middle)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_what_is_not_computed_lies_on_the_line_through_the_last_two() -> None:
    times = torch.tensor([1000.0, 900.0, 900.0, 700.0, 600.0])
    forecast = Forecast("deep", times)
    assert forecast.look_ahead(3, 2) is None, "nothing is known yet"
    forecast.note(0, [torch.tensor(0.0), torch.tensor(5.0)])
    forecast.note(1, [torch.tensor(99.0), torch.tensor(99.0)])
    forecast.note(2, [torch.tensor(1.0), torch.tensor(5.0)])  # at the same time: the second pass of a step
    assert forecast.look_ahead(3, 2) == [3.0, 5.0]
    assert forecast.look_ahead(3, 1) == [3.0]
    forecast.note(3, [torch.tensor(2.0)])
    assert forecast.look_ahead(3, 2) is None, "the branch without guidance is new"
    assert forecast.look_ahead(4, 1) is None, "the last pass"


@pytest.fixture(scope="module")
def edit(
    painter: tuple[DiTStage, TokenDump], tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DiTStage, TokenDump]:
    """The same stage with the dump of an edit of two pictures."""
    folder, checkpoint, shelf = tmp_path_factory.mktemp("sources"), Checkpoint("tiny", tiny), SourceShelf()
    refs = []
    for width, height in ((64, 96), (96, 64)):
        gradient(width, height).save(folder / f"{width}.png")
        refs.append(shelf.take(folder / f"{width}.png", checkpoint.source_bounds).ref)
    desk = make_desk(checkpoint, ModelChoice(), shelf=shelf)
    dump = next(desk.write([Order(make_job(prompt="a tree", sources=tuple(refs)))])).dump
    return DiTStage(painter[0].parts, shelf), dump


@pytest.mark.parametrize(("cache", "passes"), [("light", 6), ("deep", 4), (1.0, None)])
def test_an_edit_is_cached_too_and_reads_its_sources_at_the_first_pass(
    edit: tuple[DiTStage, TokenDump], monkeypatch: pytest.MonkeyPatch, cache: str | float, passes: int | None
) -> None:
    """A forecast before the first pass that reads source pictures would know nothing of them."""
    from diffusers.models.transformers.transformer_glm_image import GlmImageLayerKVCache

    if cache == 1.0:
        pytest.importorskip("cache_dit")
    reads, at_each_step = [], []
    get = GlmImageLayerKVCache.get
    monkeypatch.setattr(GlmImageLayerKVCache, "get", lambda *given: reads.append(1) or get(*given))
    stage, dump = edit
    settings = make_painting(4, 12, 1.5, cache=cache)
    seen = np.asarray(stage.paint(dump, settings, lambda event: at_each_step.append(len(reads)))).astype(float)
    layers = len(stage.parts.transformer.transformer_blocks)
    assert at_each_step[0] == layers
    assert at_each_step[-1] == layers * passes if passes else layers < at_each_step[-1] < layers * 12
    assert not np.array_equal(seen, paint((stage, dump.model_copy(update={"sources": ()})), settings))


@pytest.mark.parametrize(("begins", "runs"), [(0.0, 2 * 6), (0.4, 3 + 2 * (1 + 3))])
def test_where_guidance_begins_a_pass_is_computed(
    painter: tuple[DiTStage, TokenDump], begins: float, runs: int
) -> None:
    """Nothing is known yet of the branch without tokens. Passes 0, 1, 3, 6, 9 and 11 of twelve are computed anyway."""
    calls: list[int] = []
    first = painter[0].parts.transformer.transformer_blocks[0]
    hook = first.register_forward_pre_hook(lambda *given: calls.append(1))
    paint(painter, make_painting(4, 12, 1.5, cache="light", guidance_window=(begins, 1.0)))
    hook.remove()
    assert len(calls) == runs


@pytest.mark.parametrize(("scheduler", "batch"), [("euler", True), ("heun", False), ("unipc", True), ("dpm", False)])
def test_levels_go_with_every_solver_and_repeat_themselves(
    painter: tuple[DiTStage, TokenDump], scheduler: Scheduler, batch: bool
) -> None:
    way = {"scheduler": scheduler, "guidance_batch": batch}
    whole = paint(painter, make_painting(4, 12, 1.5, **way))
    pictures = [paint(painter, make_painting(4, 12, 1.5, cache="light", **way)) for _ in range(2)]
    assert np.array_equal(*pictures)
    assert 0 < np.square(pictures[0] - whole).mean() < 25


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


@pytest.mark.parametrize("law", [{}, {"temperature": 2.0, "top_p": 1.0, "top_k": None}], ids=["usual", "flat"])
def test_jacobi_draws_the_tokens_of_edits_and_resumes_in_fewer_passes(
    tiny: Path, edit: tuple[DiTStage, TokenDump], law: dict[str, float]
) -> None:
    """As one-by-one drawing does: edits of one and of two pictures side by side, and a picture after its preview."""
    desk = make_desk(Checkpoint("tiny", tiny), ModelChoice(), shelf=edit[0].sources.shelf)
    refs = tuple(SourceRef(**each.model_dump(exclude={"grid", "embedded"})) for each in edit[1].sources)

    def drawn(method: str) -> list[TokenDump]:
        sampling = TINY_SAMPLING.model_copy(update={**law, "ar_method": method})
        alike = {"prompt": "a tree", "height": 128, "width": 256, "sampling": sampling}
        edits = [Order(make_job(**alike, seed=count, sources=refs[:count])) for count in (1, 2)]
        preview = Order(make_job(**alike), until="preview")
        dumps = [written.dump for order in (edits, [preview]) for written in desk.write(order)]
        resumed = next(desk.write([Order(preview.job, begun=dumps[2])])).dump
        return [*dumps, resumed]

    one_by_one, fewer = drawn("sequential"), drawn("jacobi")
    assert [dump.grids for dump in fewer] == [dump.grids for dump in one_by_one]
    assert all(few.stats.forward_passes < one.stats.forward_passes for few, one in zip(fewer, one_by_one, strict=True))
