"""Promise 4: a job gives the same tokens alone or among others, bit for bit on the CPU in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glmimg.ar.stage import ARStage
from glmimg.engine.batches import BatchWriter, TokenWork
from glmimg.events import Event, Noted, unwatched
from glmimg.job import ARChoice, Job, ModelChoice, Sampling
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.tokens.dump import TokenDump

SAMPLING = Sampling(temperature=0.9, top_p=0.75, top_k=80)
PROMPTS = ["a red circle", "x", "a blue square on a green background", "a red circle", "海报"]


@pytest.fixture(scope="module")
def stage(tiny: Path) -> ARStage:
    return ARStage.load(Checkpoint("tiny", tiny), place(ModelChoice("tiny")), unwatched)


def job(prompt: str, seed: int, sampling: Sampling = SAMPLING) -> Job:
    return Job(prompt=prompt, height=32, width=512, seed=seed, dit_seed=0, steps=1, guidance=1.0, sampling=sampling)


def tokens(dumps: list[TokenDump]) -> list[list[list[list[int]]]]:
    return [[grid.tokens for grid in dump.grids] for dump in dumps]


def test_a_job_draws_the_same_tokens_alone_in_a_batch_and_in_any_order(stage: ARStage) -> None:
    jobs = [job(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    alone = tokens([stage.write(each, unwatched) for each in jobs])
    assert tokens(stage.write_batch(jobs, unwatched)) == alone
    assert tokens(stage.write_batch(jobs[::-1], unwatched)) == alone[::-1]
    assert tokens(stage.write_batch(jobs[1:3], unwatched)) == alone[1:3]
    assert len({str(each) for each in alone}) == len(jobs)


@pytest.mark.parametrize("method", ["sequential", "jacobi"])
def test_going_on_from_a_preview_is_as_if_it_had_not_stopped(stage: ARStage, method: str) -> None:
    sampling = SAMPLING.model_copy(update={"method": method})
    jobs = [job(prompt, seed, sampling) for seed, prompt in enumerate(PROMPTS[:2])]
    whole = stage.write_batch(jobs, unwatched)
    begun = stage.write_batch(jobs, unwatched, until="preview")
    assert [[grid.role for grid in dump.grids] for dump in begun] == [["preview"], ["preview"]]
    assert tokens(stage.write_batch(jobs, unwatched, begun=begun)) == tokens(whole)
    assert tokens(begun) == [[dump.grids[0].tokens] for dump in whole]


def test_going_on_keeps_the_preview_even_where_this_machine_would_draw_another(stage: ARStage) -> None:
    """A dump from elsewhere may differ in rounding: its preview stands as it is."""
    begun = stage.write_batch([job("x", 1)], unwatched, until="preview")[0]
    other = stage.write_batch([job("x", 2)], unwatched, until="preview")[0]
    for method in ("sequential", "jacobi"):
        went_on = job("x", 1, SAMPLING.model_copy(update={"method": method}))
        dump = stage.write_batch([went_on], unwatched, begun=[other])[0]
        assert dump.grids[0] == other.grids[0] != begun.grids[0]


def test_the_static_pass_draws_the_same_tokens(stage: ARStage, tiny: Path) -> None:
    """Padded and masked it rounds otherwise, but not so that these tokens would change."""
    from glmimg.ar.decode_loop import write_tokens
    from glmimg.ar.static_decoder import StaticDecoder

    jobs = [job(prompt, seed) for seed, prompt in enumerate(PROMPTS[:3])]
    expected = stage.write_batch(jobs, unwatched)
    decoder = StaticDecoder(stage.model, compile=False)
    with torch.inference_mode():
        for _ in range(2):  # the second time in the buffers of the first
            prompts = stage._read_prompts(jobs)
            decoder.start(prompts, prompts[0].new_tokens)
            drawn = torch.stack(list(write_tokens(decoder, stage._sampler(jobs), prompts[0].new_tokens)), dim=1)
            assert drawn.tolist() == [[token for grid in dump.grids for token in grid.flat()] for dump in expected]


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once(
    stage: ARStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    expected = tokens(stage.write_batch(jobs, unwatched))
    write_batch, sizes = stage.write_batch, []

    def write_two_at_most(jobs: list[Job], *arguments: object, **options: object) -> list[TokenDump]:
        sizes.append(len(jobs))
        if len(jobs) > 2:
            raise MemoryError
        return write_batch(jobs, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "write_batch", write_two_at_most)
    monkeypatch.setattr(stage, "choice", ARChoice(rows=5))
    said: list[Event] = []
    writer = BatchWriter(stage, said.append, lambda error: isinstance(error, MemoryError))
    assert tokens(list(writer.write([TokenWork(each) for each in jobs]))) == expected
    assert len([event for event in said if isinstance(event, Noted)]) == 1
    assert sizes == [5, 3, 2, 1, 2]
