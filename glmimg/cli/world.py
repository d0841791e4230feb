"""A note for prompts beyond what a small model has learned; `world.json` in its folder lists its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ValidationError

from glmimg.cli.console import Console
from glmimg.text import excerpt

QUOTED = re.compile(r"(?:(?<!\w)'[^']*')|\"[^\"]*\"|“[^”]*”|「[^」]*」")
WORD = re.compile(r"[^\W\d_]+")
SHOWN = 3


class World(BaseModel):
    """What a model draws: `note` says it, `example` is a prompt, `words` are all that its training used.

    letters, longest: what it writes where a prompt quotes something
    """

    note: str
    example: str
    words: str
    letters: str
    longest: int

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.words.split())

    def foreign(self, prompts: Iterable[str]) -> list[str]:
        """What of the prompts the model does not know: words, and quotes it cannot write, as they are written."""
        return list(dict.fromkeys(part for prompt in prompts for part in self._foreign_in(prompt)))

    def _foreign_in(self, prompt: str) -> Iterator[str]:
        for word in WORD.findall(QUOTED.sub(" ", prompt)):
            if not {word.lower(), word.lower().removesuffix("s")} & self.known:
                yield word
        for quote in QUOTED.findall(prompt):
            if len(quote) - 2 > self.longest or not set(quote[1:-1]) <= set(self.letters):
                yield quote


def note_foreign_words(prompts: Iterable[str], folder: Path, console: Console) -> None:
    """Note what the model in `folder` can draw, if the prompts ask for more; most models have no such limit."""
    path = folder / "world.json"
    if not path.is_file():
        return
    try:
        world = World.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # somebody else's file of that name
        return
    if foreign := world.foreign(prompts):
        names = ", ".join(excerpt(word, 20) for word in foreign[:SHOWN])
        console.note(f"{world.note}; it does not know {names}. Try: {world.example}")
