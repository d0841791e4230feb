"""Shapes of grids, known answers from the real processor's rule."""

from __future__ import annotations

import pytest

from glmimg.errors import SizeError
from glmimg.grid import GridShape, check_size, nearest_side, preview_shape, target_shape


@pytest.mark.parametrize(
    ("size", "target", "preview"),
    [
        ((1024, 1024), (32, 32), (16, 16)),
        ((1152, 768), (36, 24), (19, 13)),
        ((768, 1152), (24, 36), (13, 19)),
        ((256, 256), (8, 8), (16, 16)),
        ((32, 2048), (1, 64), (2, 128)),
    ],
)
def test_known_shapes(size: tuple[int, int], target: tuple[int, int], preview: tuple[int, int]) -> None:
    assert target_shape(*size) == target
    assert preview_shape(GridShape(*target)) == preview


def test_shapes_are_the_processors_own() -> None:
    from transformers import GlmImageProcessor

    for rows in (1, 3, 8, 17, 36, 64):
        for columns in (1, 5, 8, 24, 64):
            rule = GlmImageProcessor._get_target_shape(None, rows * 32, columns * 32)
            assert rule == (rows, columns, *preview_shape(GridShape(rows, columns)))


@pytest.mark.parametrize(
    ("size", "nearest"), [((100, 100), "96x96"), ((1000, 1000), "992x992"), ((1, 1), "32x32"), ((48, 64), "64x64")]
)
def test_wrong_sizes_name_the_nearest(size: tuple[int, int], nearest: str) -> None:
    with pytest.raises(SizeError, match="multiples of 32") as caught:
        check_size(*size)
    assert f"--size {nearest}" in caught.value.hint


@pytest.mark.parametrize("size", [(0, 0), (-32, 32), (32 * 1000, 32 * 1000), (1 << 40, 32)])
def test_absurd_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(SizeError):
        check_size(*size)


def test_a_preview_too_narrow_to_exist_is_refused() -> None:
    with pytest.raises(SizeError, match="too narrow"):
        preview_shape(GridShape(1, 300))


def test_nearest_side() -> None:
    assert [nearest_side(side) for side in (1, 47, 48, 1000, 1023)] == [32, 32, 64, 992, 1024]
