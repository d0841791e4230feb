"""Many pictures from one command or line: alternatives in its prompt, values of a knob, a list of seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from typing import Any

from glmimg.choice import Ideas
from glmimg.errors import BadInput, UsageError
from glmimg.home import beside
from glmimg.knob import knobs
from glmimg.preset import PresetStack
from glmimg.request import JOB, check_values
from glmimg.settings_file import near_names, read_text

ASKED, MOST = 200, 100_000
"""Above the first number of pictures --yes is required; above the second they are refused."""

MOST_GROUPS = 50
"""Alternatives in a prompt; pasted program code has more."""

WORDS = re.compile(r"__([A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*)__")


@dataclass(frozen=True)
class Idea:
    """One of the combinations a line expands to.

    prompt: the text to draw, before a template
    forms:  the prompt before alternatives were chosen, and before it was rewritten
    values: of the knobs that are swept
    """

    prompt: str
    forms: tuple[str, ...]
    values: Mapping[str, Any]

    @property
    def said(self) -> str:
        """The text as it was before it was rewritten."""
        return self.forms[-1]

    def fill(self, stack: PresetStack) -> dict[str, Any]:
        """Its job settings: swept knobs, the prompt as the model gets it, and its earlier forms."""
        forms = tuple(dict.fromkeys((*self.forms, self.prompt, stack.fill(self.prompt))))
        return {**self.values, "prompt": forms[-1], "forms": forms[:-1]}


def find_ideas(prompts: Sequence[str], asked: Ideas, count: int = 1, rewrite: Callable[[str], str] = str) -> list[Idea]:
    """Every combination, in the order written: prompts and their alternatives, then swept values.

    count:   seeds of each
    rewrite: gives the prompt to draw, after alternatives and before a template
    raises: UsageError (exit 2), also for over 200 pictures without --yes; BadInput (exit 3) for a list of words
    """
    most, grid = MOST if asked.yes else ASKED, [dict(pairs) for pairs in product(*map(parse_sweep, asked.sweep))]
    found = [(prompt, text) for prompt in prompts for text in ([prompt] if asked.literal else expand(prompt, most))]
    if len(found) * len(grid) > len(prompts) and len(found) * len(grid) * count > most:
        hint = "Draw fewer." if asked.yes else "Allow that with --yes, or turn off expansion with --literal."
        raise UsageError(f"that is more than {most} pictures", hint)
    return [
        Idea(drawn, (prompt, text), values) for prompt, text in found for drawn in [rewrite(text)] for values in grid
    ]


def expand(prompt: str, most: int = MOST) -> list[str]:
    """Every prompt that one with `{red|blue}` and `__colour__` expands to, but at most `most` + 1.

    raises: UsageError (exit 2), BadInput (exit 3) for a list of words
    """
    text = WORDS.sub(lambda found: _alternatives_of(found[1]), prompt)
    if len(_groups(text)) > MOST_GROUPS:
        raise UsageError(f"a prompt has over {MOST_GROUPS} alternatives", "Turn off expansion with --literal.")
    return list(islice(_expand(text), most + 1))


def _expand(text: str) -> Iterator[str]:
    marks = min(_groups(text), default=None)
    if marks is None:
        yield text
        return
    options = [text[start + 1 : end] for start, end in pairwise(marks)]
    for option in options:
        for chosen in _expand(option):
            for rest in _expand(text[marks[-1] + 1 :]):
                yield text[: marks[0]] + chosen + rest


def _groups(text: str) -> list[list[int]]:
    """Positions of the braces and bars of each pair of braces that has its own bar."""
    found, opened = [], list[list[int]]()
    for at, char in enumerate(text):
        if char == "{":
            opened.append([at])
        elif opened and char in "|}":
            opened[-1].append(at)
            if char == "}" and len(marks := opened.pop()) > 2:
                found.append(marks)
    return found


def _alternatives_of(name: str) -> str:
    """The lines of a word list, as alternatives."""
    path = beside("words") / f"{name}.txt"
    if not path.exists():
        lists = [each.stem for each in path.parent.glob("*.txt")]
        if not lists:  # someone without word lists does not mean one
            return f"__{name}__"
        hint = near_names(name, lists) or "Write one word per line there, or turn off expansion with --literal."
        raise UsageError(f"__{name}__: there is no {path}", hint)
    lines = [line.strip() for line in read_text(path, BadInput).splitlines() if line.strip()]
    if not lines:
        raise BadInput(path, "contains no words", "Write one per line.")
    return f"{{{'|'.join(lines)}}}" if len(lines) > 1 else lines[0]


def parse_sweep(text: str) -> list[tuple[str, Any]]:
    """`guidance=1,1.5` as the knob with each of its values. Raises UsageError (exit 2)."""
    name, _, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    known = [each.name for model in JOB for each in knobs(model) if not {*",|"} & {*(each.knob.metavar or "|")}]
    if name not in known or not values:
        hint = near_names(name, known) or f"For example --sweep guidance=1,1.5,2; you can sweep {', '.join(known)}."
        raise UsageError(f"--sweep {text}: not of the form KNOB=VALUE,VALUE", hint)
    return [(name, check_values({name: value.strip()}, *JOB).get(name)) for value in values.split(",")]


def parse_seeds(text: str) -> tuple[int, ...]:
    """`1,5,9`, `1..8`, or both. Raises UsageError (exit 2)."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,19})(?:\.\.(\d{1,19}))?\s*", part)
        if found is None or int(found[2] or found[1]) - int(found[1]) not in range(MOST):
            raise UsageError(f"--seed {text}: not a list of seeds", "For example --seed 1,5,9 or --seed 1..8.")
        seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(dict.fromkeys(seeds))
