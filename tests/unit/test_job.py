"""Wishes, sizes and prompts: what is said wins, what is wrong is named."""

from __future__ import annotations

import pytest

from glmimg.errors import SizeError, UsageError
from glmimg.job import Wish, check_prompt, parse_size


def test_sizes_are_width_by_height() -> None:
    assert parse_size("768x1152") == (1152, 768)
    assert parse_size("64X32") == (32, 64)
    assert parse_size("64×32") == (32, 64)


@pytest.mark.parametrize(
    "text", ["", "x", "64", "64x", "x64", "64x64x64", "6.4x64", "-64x64", "axb", "９６x64", "1" * 5000 + "x32"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SizeError) as caught:
        parse_size(text)
    assert len(caught.value.message) < 6000


def test_precedence() -> None:
    flags, preset = Wish(steps=5), Wish(steps=20, guidance=2.0)
    assert flags.over(preset) == Wish(steps=5, guidance=2.0)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"steps": 0}, "--steps"),
        ({"guidance": 0.5}, "--guidance"),
        ({"top_p": 1.5}, "--top-p"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_values_out_of_range_name_their_option(fields: dict[str, float], option: str) -> None:
    with pytest.raises(UsageError, match=option):
        Wish.of(fields)


@pytest.mark.parametrize("prompt", ["", "  \n\t", "x" * 30_000, "a\0b", "\udcff"])
def test_prompts_that_say_nothing_are_refused(prompt: str) -> None:
    with pytest.raises(UsageError):
        check_prompt(prompt)
