"""The generated part of the README: each command's options, from the commands themselves.

`python -m tests.readme` writes it anew; a test fails when it is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- options: python -m tests.readme -->", "<!-- end of options -->"


def options_table() -> str:
    """Markdown: one table row an option, with the commands that take it."""
    rows: dict[tuple[str, str], list[str]] = {}
    for command, names, text in _options():
        rows.setdefault((names, text), []).append(command)
    lines = ["| option | meaning | commands |", "| --- | --- | --- |"]
    lines += [f"| {names} | {text} | {', '.join(commands)} |" for (names, text), commands in rows.items()]
    return "\n".join(lines)


def _options() -> Iterator[tuple[str, str, str]]:
    import typer.main

    from glmimg.cli.main import app

    for name, command in _leaves("", typer.main.get_command(app)):
        for option in command.params:
            if option.param_type_name == "option" and option.name != "help":
                names = ", ".join(f"`{each}`" for each in sorted(option.opts, key=len))
                metavar = f" {option.metavar}" if option.metavar else ""
                yield name, names + metavar, re.sub(r"\s+", " ", option.help or "").replace("|", "\\|")


def _leaves(prefix: str, command: Any) -> Iterator[tuple[str, Any]]:
    command = command.load() if hasattr(command, "load") else command
    children = getattr(command, "commands", None)
    if not children:
        yield prefix.strip(), command
        return
    for name, child in children.items():
        yield from _leaves(f"{prefix} {name}", child)


def with_fresh_table(text: str) -> str:
    """The README with its options table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{options_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_fresh_table(README.read_text(encoding="utf-8")), encoding="utf-8")
