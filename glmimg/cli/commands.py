"""The commands of glmimg by name, each imported when it is called: the list of them needs none."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup

from glmimg.errors import UsageError
from glmimg.text import shell_words

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
        "resume": "Go on from dumps that stopped at their preview, and from unfinished work.",
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
        "models": "Models on this machine: list, pull, rm, check, plan.",
        "worker": "Keep a model loaded between commands: start, status, stop.",
        "gallery": "Make a page of a folder's pictures.",
        "serve": "Draw for other programs, over HTTP.",
        "presets": "Presets: list, show, save; a bare NAME is shown.",
        "history": "Show what was drawn here, the latest last.",
        "config": "Defaults of your own: path, show, set, unset.",
        "capabilities": "Say what this glmimg can do: commands, knobs, formats, presets, schemas.",
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


GUESSED = {
    **dict.fromkeys(("--width", "--height", "-W", "-H"), "--size WIDTHxHEIGHT, such as --size 1152x768"),
    **dict.fromkeys(("--output", "--output-path"), "--out PATH (-o)"),
    **dict.fromkeys(("--num-inference-steps", "--num_inference_steps"), "--steps N"),
    **dict.fromkeys(("--guidance-scale", "--cfg-scale", "--cfg"), "--guidance X"),
    "--batch-size": "--count N (-n); glmimg batch draws lists",
    "--input": "--image PATH (-i)",
}
"""Options of other programs of this kind, and what they are called here."""


class Command(TyperCommand):
    """A command that knows what it no longer does, what its options are called elsewhere, and a prompt with a dash."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {flag: parameter for parameter in self.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        end = args.index("--") if "--" in args else len(args)
        words, dashed = [], []
        for before, word in zip(["", *args], args[:end], strict=False):
            flag = word.partition("=")[0]
            if before in own and not getattr(own[before], "is_flag", False):
                words.append(word)  # the value of an option, whatever it looks like
            elif word.startswith("-") and any(map(str.isspace, flag)):
                dashed.append(word)  # no option has a space in it: a prompt that begins with a dash
            else:
                self._refuse(flag, own)
                words.append(word)
        rest = args[end + 1 :]
        return super().parse_args(ctx, [*words, "--", *dashed, *rest] if dashed or rest else words)

    def _refuse(self, flag: str, own: Mapping[str, Any]) -> None:
        """Name what became of an option, or what it is called here. Raises UsageError (exit 2)."""
        commands, instead = MOVED.get(flag, ("", ""))
        if self.name in commands.split():
            raise UsageError(f"{flag} is a command of its own now", f"Use: {instead}")
        if flag in GUESSED and flag not in own:
            raise UsageError(f"{self.name} has no option {flag}", f"Use {GUESSED[flag]}.")


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
    """A group with all of `COMMANDS`, which imports the one it is asked to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, commands in PANELS.items():
            for name, text in commands.items():
                self.add_command(LazyCommand(name, help=text, rich_help_panel=panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that a command line names, loaded. Unknown names fail here, near ones are proposed."""
        if not ctx.resilient_parsing:  # a shell that completes a line wants no answers
            args = self._understood(ctx, args)
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest

    def _understood(self, ctx: Any, args: list[str]) -> list[str]:
        """The words of a command line, `help NAME` as `NAME --help`.

        raises: UsageError (exit 2) for a prompt without a command; typer.Exit once `help` has shown all commands
        """
        if any(map(str.isspace, args[0])):
            raise UsageError(f"there is no command {args[0]!r}", f"To draw it: glmimg t2i {shell_words(*args)}")
        if args[0] != "help":
            return args
        if len(args) == 1:
            typer.echo(ctx.get_help())
            raise typer.Exit
        return [args[1], "--help"]
