"""Two dumps beside each other: counts, places, and what was asked for."""

from __future__ import annotations

from glmimg.tokens.compare import compare_dumps
from tests.dumps import dump


def test_equal_tokens_are_equal_whatever_was_asked() -> None:
    comparison = compare_dumps(dump([[1, 2], [3, 4]]), dump([[1, 2], [3, 4]], prompt="other", seed=9))
    assert comparison.equal
    differing = [name for name, one, other in comparison.fields if one != other]
    assert differing == ["prompt", "seed"]


def test_changed_cells_are_counted_and_placed() -> None:
    comparison = compare_dumps(dump([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), dump([[1, 2, 3], [4, 0, 6], [7, 8, 0]]))
    preview, target = comparison.grids
    assert preview.cells_changed == 0
    assert target.cells_changed == 2
    assert target.bounds == (1, 1, 2, 2)
    assert not comparison.equal


def test_a_change_in_the_preview_counts() -> None:
    assert not compare_dumps(dump([[1]], preview=0), dump([[1]], preview=1)).equal


def test_other_shapes_differ() -> None:
    comparison = compare_dumps(dump([[1, 2]]), dump([[1], [2]]))
    target = comparison.grids[-1]
    assert target.cells_changed is None
    assert [tuple(shape) for shape in target.shapes if shape] == [(1, 2), (2, 1)]
    assert not comparison.equal
