"""The sampler: the arithmetic of `generate`, the guard, independent rows."""

from __future__ import annotations

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from glmimg.ar.sampling import TokenSampler, _keep_nucleus_by_sorting, keep_nucleus, warp
from glmimg.job import Sampling
from tests.jobs import make_sampling


def sampler(sampling: Sampling, seeds: list[int], codebook_size: int) -> TokenSampler:
    return TokenSampler(sampling, [torch.Generator().manual_seed(seed) for seed in seeds], codebook_size)


@pytest.mark.parametrize(
    "sampling",
    [
        make_sampling(temperature=0.9, top_p=0.75),
        make_sampling(top_k=5),
        make_sampling(temperature=2.0, top_p=0.3, top_k=40),
    ],
)
def test_warping_is_that_of_generate(sampling: Sampling) -> None:
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * 3
    expected = TemperatureLogitsWarper(sampling.temperature)(None, scores) if sampling.temperature != 1 else scores
    if sampling.top_k:
        expected = TopKLogitsWarper(sampling.top_k)(None, expected)
    if sampling.top_p < 1:
        expected = TopPLogitsWarper(sampling.top_p)(None, expected)
    assert torch.equal(warp(scores, sampling), expected)


def test_draws_are_those_of_multinomial() -> None:
    draw = sampler(make_sampling(temperature=0.8, top_p=0.9), [7], 64)
    torch.manual_seed(7)
    logits = torch.Generator().manual_seed(1)
    for _ in range(200):
        scores = torch.randn(1, 64, generator=logits) * 2
        expected = torch.multinomial(warp(scores, draw.sampling).softmax(-1), 1)[:, 0]
        assert torch.equal(draw.draw(scores), expected)


def test_the_guard_changes_nothing_that_was_right() -> None:
    """Where the unguarded draw is a valid code, the guarded one is the same code."""
    sampling, codebook = make_sampling(temperature=1.0, top_p=0.95), 48
    draw = sampler(sampling, [3], codebook)
    torch.manual_seed(3)
    logits = torch.Generator().manual_seed(2)
    valid = 0
    for _ in range(300):
        scores = torch.randn(1, 64, generator=logits) * 2
        unguarded = torch.multinomial(warp(scores, sampling).softmax(-1), 1)[0, 0]
        guarded = draw.draw(scores)[0]
        assert guarded < codebook
        if unguarded < codebook:
            valid += 1
            assert guarded == unguarded
    assert 100 < valid < 300


def test_a_nucleus_without_any_valid_code_falls_back_to_the_valid_ones() -> None:
    scores = torch.full((1, 10), -5.0)
    scores[0, 8] = 100.0  # end-of-image, say, and all the mass on it
    scores[0, 3] = 0.0
    draw = sampler(make_sampling(top_p=0.5), [0], 8)
    assert {int(draw.draw(scores)) for _ in range(50)} == {3}


def test_rows_draw_from_their_own_streams() -> None:
    scores = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    together = sampler(make_sampling(), [1, 2, 3], 64)
    rows = torch.stack([together.draw(scores) for _ in range(20)], dim=1)
    for row, seed in enumerate((1, 2, 3)):
        alone = sampler(make_sampling(), [seed], 64)
        assert torch.equal(rows[row], torch.cat([alone.draw(scores[row : row + 1]) for _ in range(20)]))


def test_suppressed_ids_are_never_drawn() -> None:
    draw = TokenSampler(make_sampling(), [torch.Generator().manual_seed(0)], 4, suppressed=[1, 2])
    assert {int(draw.draw(torch.zeros(1, 6))) for _ in range(100)} == {0, 3}


def test_the_likeliest_ids_settle_the_nucleus_as_sorting_all_would() -> None:
    """Peaked laws, flat ones that have to be sorted, laws with ties at the edge, and an edge hit exactly."""
    generator = torch.Generator().manual_seed(0)
    for sharpness in (0.0, 0.1, 1.0, 2.0, 4.0, 8.0):
        scores = sharpness * torch.randn(60, 300, generator=generator)
        scores[::3] = scores[::3].round()
        scores[1] = -torch.inf
        scores[1, :4] = torch.tensor([0.25] * 4).log()
        scores[2, 100:] = -torch.inf
        for top_p in (0.05, 0.5, 0.75, 0.999):
            assert torch.equal(keep_nucleus(scores, top_p), _keep_nucleus_by_sorting(scores, top_p))


def test_the_law_of_the_valid_codes_is_the_law_drawn_from() -> None:
    sampling = make_sampling(temperature=0.8, top_p=0.9)
    logits = 3.0 * torch.randn(1, 40, generator=torch.Generator().manual_seed(3))
    law = warp(logits, sampling).softmax(-1)[0, :30]
    law /= law.sum()
    draw = sampler(sampling, [0], 30)
    counts = torch.bincount(torch.cat([draw.draw(logits) for _ in range(4000)]), minlength=30)
    assert set(counts.nonzero().flatten().tolist()) <= set(law.nonzero().flatten().tolist())
    assert float((counts / 4000 - law).abs().max()) < 0.03
