"""A model of a small world says so when it is asked for something else: `world.json` in its folder knows its words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from glmimg.cli.console import Console
from glmimg.text import excerpt

QUOTED = re.compile(r"(?:(?<!\w)'[^']*')|\"[^\"]*\"|“[^”]*”|「[^」]*」")
WORD = re.compile(r"[^\W\d_]+")
SHOWN = 3


class World(BaseModel):
    """What a model draws: `note` says it, `example` is a prompt, `words` are all that its training used."""

    note: str
    example: str
    words: str

    def foreign(self, prompts: Iterable[str]) -> list[str]:
        """The words that the model does not know, as they are written, text in quotes left out."""
        known = frozenset(self.words.split())
        said = (word for prompt in prompts for word in WORD.findall(QUOTED.sub(" ", prompt)))
        return list(dict.fromkeys(word for word in said if not {word.lower(), word.lower().removesuffix("s")} & known))


def note_foreign_words(prompts: Iterable[str], folder: Path, console: Console) -> None:
    """Say what the model in `folder` can draw, if the prompts ask for more; most models have no such limit."""
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
