"""The commands of glmimg by name, each imported when it is called: the list of them needs none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup

from glmimg.errors import UsageError

PANELS = {
    "Draw": {
        "t2i": "Draw a picture from a prompt.",
        "edit": "Draw a picture from one or several source pictures and a prompt.",
        "explore": "Draw many previews of a prompt on one sheet, and finish those picked.",
        "replay": "Make a picture of glmimg again from its own metadata.",
        "batch": "Draw many pictures, each job of a list into a folder.",
    },
    "Stages": {
        "tokens": "Draw token grids from a prompt (stage 1 alone).",
        "resume": "Go on from dumps that stopped at their preview.",
        "decode": "Paint pictures from token dumps (stage 2 alone).",
        "encode": "Read a picture's own tokens with the model's vision encoder.",
    },
    "Dumps": {
        "inspect": "Look at a token dump, compare two, or list many.",
        "score": "Ask the model how likely each token of a dump was.",
        "redraw": "Draw a part of a dump's tokens anew.",
        "paste": "Copy a part of another dump's tokens into a dump.",
    },
    "Machine": {
        "models": "Models on this machine: list, pull, check, plan.",
        "presets": "List the presets, or show one as YAML.",
    },
}
"""Each with the first line of its own help page, as a test checks: `glmimg --help` shows these."""

COMMANDS = {name: text for commands in PANELS.values() for name, text in commands.items()}

MOVED = {
    "--from": ("t2i edit", "glmimg replay PICTURE"),
    "--candidates": ("t2i", "glmimg explore PROMPT -n 16"),
    "--pick": ("t2i", "glmimg explore PROMPT --pick 3,7"),
    "--redraw": ("tokens", "glmimg redraw DUMP --box x0,y0,x1,y1"),
    "--mask": ("tokens", "glmimg redraw DUMP --mask PICTURE"),
    "--keep-from": ("tokens", "glmimg redraw DUMP --keep-from OTHER"),
    "--prompt": ("tokens", "glmimg redraw DUMP --prompt TEXT"),
    "--paste": ("tokens", "glmimg paste DUMP FROM"),
    "--box": ("tokens", "glmimg paste DUMP FROM --box x0,y0,x1,y1"),
    "--at": ("tokens", "glmimg paste DUMP FROM --at x,y"),
    "--from-image": ("tokens", "glmimg encode PICTURE"),
    "--resume": ("tokens", "glmimg resume DUMP"),
    "--logprobs": ("tokens", "glmimg score DUMP"),
    "--score": ("inspect", "glmimg score DUMP"),
    "--out": ("inspect", "glmimg score DUMP -o SCORED"),
}
"""Options of the first edition that became commands: where they stood, and what to type now."""


class Command(TyperCommand):
    """A command whose rare options stand on a help page of their own, and which knows what it no longer does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for word in args[: args.index("--")] if "--" in args else args:
            commands, instead = MOVED.get(word.partition("=")[0], ("", ""))
            if self.name in commands.split():
                raise UsageError(f"{word.partition('=')[0]} is a command of its own now", f"Use: {instead}")
        return super().parse_args(ctx, args)


def show_all_options(ctx: typer.Context, wanted: bool) -> None:
    """Print the help page with the rare options too, and leave."""
    if not wanted:
        return
    for parameter in ctx.command.params:
        parameter.hidden = False  # type: ignore[attr-defined]
    typer.echo(ctx.get_help())
    raise typer.Exit


class LazyCommand(TyperCommand):
    """Stands for a command in the list of commands until it is called."""

    def load(self) -> Any:
        """The command itself: its module has its name and holds it under its name."""
        home = getattr(import_module(f"glmimg.cli.{self.name}"), str(self.name))
        if not isinstance(home, typer.Typer):
            function, home = home, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            home.command(self.name, cls=Command)(function)
        return typer.main.get_command(home)


class LazyGroup(TyperGroup):
    """A group with all of `COMMANDS`, which imports the one it is request to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, commands in PANELS.items():
            for name, text in commands.items():
                self.add_command(LazyCommand(name, help=text, rich_help_panel=panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that a command line names, loaded. Unknown names fail here, near ones are proposed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest
