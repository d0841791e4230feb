"""What is made from the knobs: `python -m tests.generate` writes it anew, a test says when it is stale."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from glmimg.choice import ModelChoice
from glmimg.cli.capabilities import each_command
from glmimg.config import MODELS
from glmimg.job import Painting, Sampling, Scene
from glmimg.knob import Declared, Settings, knobs
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import SCHEMA

PACKAGE = Path(__file__).parents[1] / "glmimg"

HEAD = '''"""The knobs as typed keywords, for editors and type checkers. Generated: python -m tests.generate"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "str | Path | Image"
'''


HEADING = """# Commands

Generated from the commands themselves: `python -m tests.generate`. Options marked * stand on the page of `--help-all`.
"""


def keywords() -> str:
    """glmimg/keywords.py."""
    classes: dict[str, tuple[tuple[type[Settings], ...], str]] = {
        "ModelKeywords": ((ModelChoice,), "How a model is loaded."),
        "PaintingKeywords": ((Painting,), "How a dump is painted."),
        "JobKeywords": ((Scene, Sampling, Painting), "What is drawn, and how; sources are those of an edit."),
    }
    return HEAD + "".join(keyword_class(name, *each) for name, each in classes.items())


def keyword_class(name: str, models: tuple[type[Settings], ...], text: str) -> str:
    """A TypedDict of the knobs of some models, and what goes by keyword beside them."""
    declared = [each for model in models for each in knobs(model) if each.name != "model"]
    lines = [f"    {each.name}: {type_text(each)}\n" for each in declared]
    if name != "ModelKeywords":
        lines.insert(0, "    preset: str\n")
    if name == "JobKeywords":
        lines.insert(0, "    sources: Source | Sequence[Source]\n")
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


def schema() -> str:
    """The JSON Schema (draft 2020-12) of a dump. Rows that fit the size, and ids the codebook, it cannot say."""
    made = TokenDump.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "glmimg token dump"}
    head["required"] = ["format", "version", *made["required"]]
    return json.dumps(head, indent=1, ensure_ascii=False) + "\n"


def commands() -> str:
    """docs/commands.md."""
    return HEADING + "".join(section(name, command) for name, command in each_command())


def section(name: str, command: Any) -> str:
    """A command: what it does, its arguments, its options."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    words = " ".join(f"[{each.metavar or each.name}]" if not each.required else str(each.metavar) for each in arguments)
    text = inspect.cleandoc(command.help or "").split("\b")[0].strip()
    rows = [option_row(each) for each in command.params if each.param_type_name == "option" and each.name != "help"]
    table = "| option | meaning | variable |\n| --- | --- | --- |\n" + "".join(rows)
    return f"\n## glmimg {name}\n\n`glmimg {name} {words}`\n\n{text}\n\n{table}"


def option_row(option: Any) -> str:
    """An option with its flags, its text and its environment variable."""
    names = ", ".join(f"`{each}`" for each in sorted([*option.opts, *option.secondary_opts], key=len))
    mark = " *" if option.hidden else ""
    text = re.sub(r"\s+", " ", option.help or "").replace("|", "\\|").replace("\\[", "[")
    variable = VARIABLES.get(option.name or "", "")
    return f"| {names} {option.metavar or ''}{mark} | {text} | {variable and f'`{variable}`'} |\n"


VARIABLES = {each.name: each.variable for model in MODELS for each in knobs(model) if each.knob.env}


if __name__ == "__main__":
    (PACKAGE / "keywords.py").write_text(keywords())
    SCHEMA.write_text(schema())
    (PACKAGE.parent / "docs" / "commands.md").write_text(commands())
