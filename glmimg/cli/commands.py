"""The commands of glmimg by name, each imported when it is called: the list of them needs none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "t2i": "Draw a picture from a prompt.",
    "edit": "Draw a picture from one or several source pictures and a prompt.",
    "tokens": "Draw token grids (stage 1 alone) from a prompt and source pictures if there are any, "
    "or change part of a dump.",
    "decode": "Paint pictures from token dumps (stage 2 alone).",
    "inspect": "Look at a token dump, compare two, or list many.",
    "batch": "Draw many pictures, each job of a list into a folder.",
    "presets": "List the presets, or show one as YAML.",
    "models": "Models on this machine: list, pull, check, plan.",
}
"""Each with the first line of its own help page, as a test checks: `glmimg --help` shows these."""


class LazyCommand(TyperCommand):
    """Stands for a command in the list of commands until it is called."""

    def load(self) -> Any:
        """The command itself: its module has its name and holds it under its name."""
        home = getattr(import_module(f"glmimg.cli.{self.name}"), str(self.name))
        if not isinstance(home, typer.Typer):
            function, home = home, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            home.command(self.name)(function)
        return typer.main.get_command(home)


class LazyGroup(TyperGroup):
    """A group with all of `COMMANDS`, which imports the one it is asked to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, text in COMMANDS.items():
            self.add_command(LazyCommand(name, help=text))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that a command line names, loaded. Unknown names fail here, near ones are proposed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest
