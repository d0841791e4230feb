"""Quoted words, as diffusers finds them."""

from __future__ import annotations

import pytest

from glmimg.text import quoted_texts


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("no quotation", []),
        ("a sign 'OPEN' and \"SHUT\"", ["OPEN", "SHUT"]),
        ("“你好”和「世界」", ["你好", "世界"]),
        ("\"second\" 'first'", ["first", "second"]),
        ("it's alone", []),
        ("''", [""]),
        ("a 'b \"c\" d' e", ['b "c" d', "c"]),
    ],
)
def test_known_answers(prompt: str, texts: list[str]) -> None:
    assert quoted_texts(prompt) == texts


@pytest.mark.parametrize("prompt", ["x 'a' “b” \"c\" 「d」 'e'", "'“nested”'", "''''", "“a“b”"])
def test_the_texts_are_those_of_the_stock_pipeline(prompt: str) -> None:
    from diffusers import GlmImagePipeline

    assert [quoted_texts(prompt)] == GlmImagePipeline.get_glyph_texts(None, prompt)
