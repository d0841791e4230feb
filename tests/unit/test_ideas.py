"""What one line stands for: alternatives, lists of words, sweeps, seeds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from glmimg.choice import Ideas
from glmimg.errors import BadInput, UsageError
from glmimg.ideas import expand, find_ideas, parse_seeds, parse_sweep
from glmimg.preset import Preset, PresetStack


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("a {red|blue} {cat|dog}", ["a red cat", "a red dog", "a blue cat", "a blue dog"]),
        ("{a {1|2}|b}", ["a 1", "a 2", "b"]),
        ("a {small|} cat", ["a small cat", "a  cat"]),
        ('a sign that says "{OPEN|CLOSED}"', ['a sign that says "OPEN"', 'a sign that says "CLOSED"']),
        ("{no bar} a | b", ["{no bar} a | b"]),
        ("{x {a|b}}", ["{x a}", "{x b}"]),
        ("{a|b", ["{a|b"]),
        ("a|b}", ["a|b}"]),
        ("{ {a|b}", ["{ a", "{ b"]),
        ("{红|蓝}色", ["红色", "蓝色"]),
        ("__main__ is text where there are no lists", ["__main__ is text where there are no lists"]),
    ],
)
def test_alternatives(prompt: str, meant: list[str]) -> None:
    assert expand(prompt) == meant


def test_lists_of_words(own_home: Path) -> None:
    words = own_home / "words"
    words.mkdir(parents=True)
    (words / "colour.txt").write_text("red\n\n dark {blue|green} \n", encoding="utf-8")
    (words / "one.txt").write_text("cat")
    (words / "none.txt").write_text("\n")
    assert expand("a __colour__ __one__") == ["a red cat", "a dark blue cat", "a dark green cat"]
    with pytest.raises(UsageError, match="there is no") as missing:
        expand("a __color__ cat")
    assert "colour" in missing.value.hint
    with pytest.raises(BadInput, match="contains no words"):
        expand("__none__")
    assert expand("x__ y __ z ____ __../colour__") == ["x__ y __ z ____ __../colour__"]


def test_hostile_prompts_end_soon() -> None:
    for prompt in ("{a|" * 6000, "{" * 20_000, "{a|b}" * 4000, "|" * 20_000, "{a|b" * 4000 + "}" * 4000):
        with suppress(UsageError):
            assert expand(prompt) == [prompt]
    with pytest.raises(UsageError, match="more than"):
        find_ideas(["{a|b}" * 40], Ideas())


def test_every_combination_in_the_order_written() -> None:
    ideas = find_ideas(["{x|y}", "z"], Ideas(sweep=("guidance=1,2.5", "--dit-seed=3,4")))
    assert [idea.prompt for idea in ideas] == ["x"] * 4 + ["y"] * 4 + ["z"] * 4
    assert [tuple(idea.values.values()) for idea in ideas[:4]] == [(1.0, 3), (1.0, 4), (2.5, 3), (2.5, 4)]
    assert [idea.prompt for idea in find_ideas(["{x|y} __z__"], Ideas(literal=True))] == ["{x|y} __z__"]


def test_each_form_of_a_prompt_is_kept() -> None:
    stack = PresetStack((Preset("", "ink of {prompt}", {}),))
    red, _ = (idea.fill(stack) for idea in find_ideas(["a {red|blue} cat"], Ideas()))
    assert red == {"prompt": "ink of a red cat", "forms": ("a {red|blue} cat", "a red cat")}
    (plain,) = find_ideas(["a cat"], Ideas())
    assert plain.fill(PresetStack()) == {"prompt": "a cat", "forms": ()}
    assert plain.fill(stack)["forms"] == ("a cat",)


def test_over_two_hundred_pictures_want_a_yes() -> None:
    assert len(find_ideas(["{a|b}"], Ideas(), 100)) == 2
    with pytest.raises(UsageError, match="more than 200 pictures") as caught:
        find_ideas(["{a|b}"], Ideas(), 101)
    assert "--yes" in caught.value.hint
    assert len(find_ideas(["{a|b}"], Ideas(yes=True), 101)) == 2
    assert len(find_ideas(["a"] * 300, Ideas(), 9)) == 300, "a list is what it is"


@pytest.mark.parametrize(("text", "seeds"), [("1,5,9", (1, 5, 9)), ("1..4", (1, 2, 3, 4)), ("7,1..2,7", (7, 1, 2))])
def test_lists_of_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["5..1", "1,", "a,b", "1..1000000", "1...4", "-1,2", "1.5,2"])
def test_no_lists_of_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="--seed"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["guidance", "guidance=", "guidence=1", "guidance=a", "steps=0", "prompt=x", "drop=a"])
def test_no_sweeps(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sweep(text)
