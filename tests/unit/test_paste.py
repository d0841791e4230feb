"""Pasting a region of one dump into another."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmimg.errors import BadDump, UsageError
from glmimg.tokens.change import check_same_codes, paste
from glmimg.tokens.region import Box
from tests.dumps import dump

ONTO = dump([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
GIVEN = dump([[11, 12], [13, 14]])


def test_a_box_lands_where_it_should() -> None:
    pasted = paste(ONTO, GIVEN, Box(0, 32, 64, 64), (32, 64))
    assert pasted.target.tokens == [[1, 2, 3], [4, 5, 6], [7, 13, 14]]
    assert pasted.preview == ONTO.preview
    assert pasted.sampling.method == "paste"
    assert ONTO.target.tokens == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_pixels_are_widened_to_cells() -> None:
    assert paste(ONTO, GIVEN, Box(40, 40, 41, 41), (63, 31)).target.tokens[0] == [1, 14, 3]
    assert Box(40, 40, 41, 41).shape == (1, 1)
    assert Box(31, 0, 33, 32).shape == (1, 2)


def test_over_the_edge_is_an_error_that_says_where_it_fits() -> None:
    with pytest.raises(UsageError) as caught:
        paste(ONTO, GIVEN, Box(0, 0, 64, 64), (64, 0))
    assert "--at 32,32" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        paste(GIVEN, ONTO, Box(0, 0, 96, 96), (0, 0))
    assert "smaller" in caught.value.hint


def test_codes_of_another_model_are_refused() -> None:
    other = dump([[1]], model=ONTO.model.model_copy(update={"fingerprint": "cccc-bbbb"}))
    with pytest.raises(BadDump, match="cccc"):
        check_same_codes(ONTO, other, Path("x"))
    painter = dump([[1]], model=ONTO.model.model_copy(update={"fingerprint": "aaaa-dddd"}))
    check_same_codes(ONTO, painter, Path("x"))
