"""What is counted about grids, on grids counted by hand."""

from __future__ import annotations

import math

import pytest

from glmimg.tokens.statistics import compare_grids, describe, describe_grid, patches
from tests.dumps import dump, grid


def test_counts_of_a_small_grid() -> None:
    told = describe_grid(grid("target", [[5, 5, 5, 7], [5, 5, 5, 7], [8, 9, 7, 7], [1, 1, 1, 1]]))
    assert (told.rows, told.columns, told.distinct) == (4, 4, 5)
    assert [(each.code, each.cells) for each in told.most_frequent[:3]] == [(5, 6), (7, 4), (1, 4)]
    run = told.longest_run
    assert (run.code, run.length, run.row, run.column) == (1, 4, 3, 0)
    assert told.repeated_rows == 1
    shares = [6 / 16, 4 / 16, 4 / 16, 1 / 16, 1 / 16]
    assert told.entropy_bits == pytest.approx(-sum(share * math.log2(share) for share in shares))
    assert told.dead_regions == ()


def test_entropy_ends() -> None:
    assert describe_grid(grid("target", [[3, 3], [3, 3]])).entropy_bits == 0
    assert describe_grid(grid("target", [[0, 1], [2, 3]])).entropy_bits == pytest.approx(2)


def test_patches_join_by_sides_not_corners() -> None:
    found = sorted((patch.code, patch.cells) for patch in patches([[1, 2, 1], [2, 2, 1], [1, 2, 1]], {1, 2}))
    assert found == [(1, 1), (1, 1), (1, 3), (2, 4)]


def test_a_dead_region_is_found_with_its_bounds() -> None:
    rows = [[100 * row + column for column in range(12)] for row in range(12)]
    for row in range(3, 8):
        rows[row][2:7] = [7777] * 5
    (patch,) = describe_grid(grid("target", rows)).dead_regions
    assert (patch.code, patch.cells, patch.top, patch.left, patch.bottom, patch.right) == (7777, 25, 3, 2, 7, 6)


def test_a_snake_of_one_code_is_one_patch() -> None:
    rows = [
        [1] * 41 if row % 2 == 0 else [1 if column == (row // 2 % 2) * 40 else 0 for column in range(41)]
        for row in range(41)
    ]
    assert max(patch.cells for patch in patches(rows, {1})) == 21 * 41 + 20


def test_agreement_of_preview_and_target() -> None:
    halves = [[1] * 8 + [2] * 8] * 16
    same = compare_grids(grid("preview", halves), grid("target", [[1, 2], [1, 2]]))
    assert (same.share, same.by_chance) == (1.0, 0.5)
    swapped = compare_grids(grid("preview", halves), grid("target", [[2, 1], [2, 2]]))
    assert swapped.share == 0.25


def test_surprise() -> None:
    logprobs = [[-0.5, -1.5], [-3.0, -1.0]]
    target = grid("target", [[1, 2], [3, 4]], logprobs=logprobs, entropy=[[1.0, 1.0], [2.0, 0.0]])
    whole = dump([[0, 0], [0, 0]])
    told = describe(whole.model_copy(update={"grids": [whole.grids[0], target]}))
    surprise = told.grids[1].surprise
    assert surprise is not None
    assert surprise.mean_logprob == -1.5
    assert surprise.perplexity == pytest.approx(math.exp(1.5))
    assert surprise.mean_entropy == 1.0
    assert surprise.least_likely == (1, 0)
    assert told.grids[0].surprise is None
