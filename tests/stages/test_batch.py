"""Promise 4: a job gives the same tokens alone or among others, bit for bit on the CPU in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.engine.engine import Engine
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.events import Event, Noted, Watch, unwatched
from glmimg.grid import Role
from glmimg.job import Job, Sampling
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from tests.jobs import make_job, make_sampling

SAMPLING = make_sampling(temperature=0.9, top_p=0.75, top_k=80)
PROMPTS = ["a red circle", "x", "a blue square on a green background", "a red circle", "海报"]


@pytest.fixture(scope="module")
def stage(tiny: Path) -> ARStage:
    return ARStage(Checkpoint("tiny", tiny), place(ModelChoice()), unwatched)


def job(prompt: str, seed: int, sampling: Sampling = SAMPLING) -> Job:
    return make_job(
        prompt=prompt, height=32, width=512, seed=seed, dit_seed=0, steps=1, guidance=1.0, sampling=sampling
    )


def write(
    stage: ARStage, jobs: list[Job], begun: list[TokenDump] | None = None, until: Role = "target"
) -> list[TokenDump]:
    previews: list[TokenDump | None] = [*begun] if begun else [None] * len(jobs)
    return stage.write([TokenWork(*each, until) for each in zip(jobs, previews, strict=True)], unwatched)


def tokens(dumps: list[TokenDump]) -> list[list[list[list[int]]]]:
    return [[grid.tokens for grid in dump.grids] for dump in dumps]


def test_a_job_draws_the_same_tokens_alone_in_a_batch_and_in_any_order(stage: ARStage) -> None:
    jobs = [job(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    alone = [tokens(write(stage, [each]))[0] for each in jobs]
    assert tokens(write(stage, jobs)) == alone
    assert tokens(write(stage, jobs[::-1])) == alone[::-1]
    assert tokens(write(stage, jobs[1:3])) == alone[1:3]
    assert len({str(each) for each in alone}) == len(jobs)


@pytest.mark.parametrize("method", ["sequential", "jacobi"])
def test_going_on_from_a_preview_is_as_if_it_had_not_stopped(stage: ARStage, method: str) -> None:
    sampling = SAMPLING.model_copy(update={"ar_method": method})
    jobs = [job(prompt, seed, sampling) for seed, prompt in enumerate(PROMPTS[:2])]
    whole = write(stage, jobs)
    begun = write(stage, jobs, until="preview")
    assert [[grid.role for grid in dump.grids] for dump in begun] == [["preview"], ["preview"]]
    assert tokens(write(stage, jobs, begun)) == tokens(whole)
    assert tokens(begun) == [[dump.grids[0].tokens] for dump in whole]


def test_going_on_keeps_the_preview_even_where_this_machine_would_draw_another(stage: ARStage) -> None:
    """A dump from elsewhere may differ in rounding: its preview stands as it is."""
    begun = write(stage, [job("x", 1)], until="preview")[0]
    other = write(stage, [job("x", 2)], until="preview")[0]
    for method in ("sequential", "jacobi"):
        went_on = job("x", 1, SAMPLING.model_copy(update={"ar_method": method}))
        dump = write(stage, [went_on], [other])[0]
        assert dump.grids[0] == other.grids[0] != begun.grids[0]


@pytest.mark.parametrize("law", [SAMPLING, make_sampling(temperature=2.0, top_p=1.0)])
def test_jacobi_draws_the_tokens_of_one_by_one_drawing_alone_and_in_a_batch(stage: ARStage, law: Sampling) -> None:
    """Also where a row is ready long before another: their windows are unlike."""
    jobs = [job(prompt, seed, law) for seed, prompt in enumerate(PROMPTS)]
    expected = tokens(write(stage, jobs))
    fewer = [job(prompt, seed, law.model_copy(update={"ar_method": "jacobi"})) for seed, prompt in enumerate(PROMPTS)]
    together = write(stage, fewer)
    assert tokens(together) == expected
    assert together[0].stats.forward_passes < together[0].stats.tokens
    assert [tokens(write(stage, [each]))[0] for each in fewer] == expected


def test_the_static_pass_draws_the_same_tokens(stage: ARStage, tiny: Path) -> None:
    """Padded and masked it rounds otherwise, but not so that these tokens would change."""
    from glmimg.ar.decode_loop import write_tokens
    from glmimg.ar.static_decoder import StaticDecoder

    jobs = [job(prompt, seed) for seed, prompt in enumerate(PROMPTS[:3])]
    expected = write(stage, jobs)
    decoder = StaticDecoder(stage.model, compile=False)
    with torch.inference_mode():
        for _ in range(2):  # the second time in the buffers of the first
            prompts = stage._read_prompts([each.scene for each in jobs])
            decoder.start(prompts, prompts[0].new_tokens)
            drawn = torch.stack(
                list(write_tokens(decoder, stage._sampler(jobs, prompts[0].grids), prompts[0].new_tokens)), dim=1
            )
            assert drawn.tolist() == [[token for grid in dump.grids for token in grid.flat()] for dump in expected]


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once(
    stage: ARStage, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    expected = tokens(write(stage, jobs))
    plain, sizes = ARStage.write, []

    def write_two_at_most(self: ARStage, works: list[TokenWork], watch: Watch) -> list[TokenDump]:
        sizes.append(len(works))
        if len(works) > 2:
            raise MemoryError
        return plain(self, works, watch)

    monkeypatch.setattr(ARStage, "write", write_two_at_most)
    events: list[Event] = []
    stages = CheckpointStages(Checkpoint("tiny", tiny), ModelChoice(ar_batch=5))
    with Engine(stages, Scope.of(jobs), events.append) as engine:
        assert tokens(list(engine.write([TokenWork(each) for each in jobs]))) == expected
    assert len([event for event in events if isinstance(event, Noted)]) == 1
    assert sizes == [5, 3, 2, 1, 2]
