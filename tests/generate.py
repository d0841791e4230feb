"""What is made from the knobs: `python -m tests.generate` writes it anew, a test says when it is stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from glmimg.choice import ModelChoice
from glmimg.job import Painting, Sampling, Scene
from glmimg.knob import Declared, Settings, knobs

PACKAGE = Path(__file__).parents[1] / "glmimg"

HEAD = '''"""The knobs as typed keywords, for editors and type checkers. Generated: python -m tests.generate"""

from __future__ import annotations

from typing import Literal, TypedDict
'''


def keywords() -> str:
    """glmimg/keywords.py."""
    classes = {
        "ModelKeywords": ((ModelChoice,), "How a model is loaded."),
        "PaintingKeywords": ((Painting,), "How a dump is painted."),
        "JobKeywords": ((Scene, Sampling, Painting), "What is drawn, and how."),
    }
    return HEAD + "".join(keyword_class(name, *each) for name, each in classes.items())


def keyword_class(name: str, models: tuple[type[Settings], ...], text: str) -> str:
    """A TypedDict of the knobs of some models."""
    declared = [each for model in models for each in knobs(model) if each.name != "model"]
    lines = [f"    {each.name}: {type_text(each)}\n" for each in declared]
    return f'\n\nclass {name}(TypedDict, total=False):\n    """{text}"""\n\n' + "".join(lines)


def type_text(declared: Declared) -> str:
    """The type a keyword takes: what has a form of its own on the command line is text here too."""
    found = [plain(each) for each in members(declared.annotation)]
    return " | ".join(dict.fromkeys(found))


def members(annotation: Any) -> list[Any]:
    """The members of a union, without what `Annotated` adds."""
    if hasattr(annotation, "__metadata__"):
        return members(get_args(annotation)[0])
    if get_origin(annotation) is Literal or not hasattr(annotation, "__args__") or get_origin(annotation) is tuple:
        return [annotation]
    return [each for part in get_args(annotation) for each in members(part)]


def plain(kind: Any) -> str:
    """A type as it is written."""
    if kind is type(None):
        return "None"
    if get_origin(kind) is Literal:
        return f"Literal[{', '.join(repr(value) for value in get_args(kind))}]".replace("'", '"')
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        return "list[str]"
    return kind.__name__ if kind in (int, float, bool, str) else "str"


if __name__ == "__main__":
    (PACKAGE / "keywords.py").write_text(keywords())
