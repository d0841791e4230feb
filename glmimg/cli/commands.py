"""The commands of glmimg by name. Each is imported only when it is called; listing them imports none."""

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
        "edit": "Draw a picture from one or more source pictures and a prompt.",
        "explore": "Draw many previews of a prompt on one contact sheet, and finish the ones you pick.",
        "replay": "Reproduce a glmimg picture from its own metadata.",
        "batch": "Draw a list of jobs into a folder.",
    },
    "Stages": {
        "tokens": "Draw token grids from a prompt (stage 1 alone).",
        "resume": "Continue dumps that stopped at their preview, and interrupted work.",
        "decode": "Paint pictures from token dumps (stage 2 alone).",
        "encode": "Encode a picture into tokens with the model's vision encoder.",
    },
    "Dumps": {
        "inspect": "Look at a token dump, compare two, or list many.",
        "score": "Score how likely each token of a dump is to the model.",
        "redraw": "Redraw part of a dump's tokens.",
        "paste": "Copy part of another dump's tokens into a dump.",
    },
    "Machine": {
        "models": "Models on this machine: list, pull, rm, check, plan.",
        "doctor": "Say whether this machine draws right, and how fast.",
        "worker": "Keep a model loaded between commands: start, status, stop.",
        "enhance": "Have a language model rewrite a prompt.",
        "gallery": "Make a gallery page of a folder's pictures.",
        "serve": "Draw for other programs, over HTTP or MCP.",
        "presets": "Presets: list, show, save. A bare NAME shows that preset.",
        "history": "Show what was drawn here, newest last.",
        "config": "Your own defaults: path, show, set, unset.",
        "capabilities": "Print what this glmimg can do: commands, options, formats, presets, schemas.",
    },
}
"""Each with the first line of its own help page, as a test checks: `glmimg --help` shows these."""

COMMANDS = {name: text for commands in PANELS.values() for name, text in commands.items()}

MOVED = {
    "--from": ("t2i edit", "glmimg replay PICTURE"),
    "--candidates": ("t2i", "glmimg explore PROMPT -n 16"),
    "--pick": ("t2i", "glmimg explore PROMPT --pick 3,7"),
    "--redraw": ("tokens", "glmimg redraw DUMP --box x0,y0,x1,y1"),
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
"""Options of the first edition that became commands: which command had them, and what to type now."""


GUESSED = {
    **dict.fromkeys(("--width", "--height", "-W", "-H"), "--size WIDTHxHEIGHT, such as --size 1152x768"),
    **dict.fromkeys(("--output", "--output-path"), "--out PATH (-o)"),
    **dict.fromkeys(("--num-inference-steps", "--num_inference_steps"), "--steps N"),
    **dict.fromkeys(("--guidance-scale", "--cfg-scale", "--cfg"), "--guidance X"),
    "--batch-size": "--count N (-n); glmimg batch draws lists",
    "--input": "--image PATH (-i)",
    "--mask": "glmimg edit PROMPT -i PICTURE --mask MASK",
}
"""Options of similar programs, and what they are called here."""


class Command(TyperCommand):
    """A command that recognizes moved options, option names of other programs, and a prompt that starts with a dash."""

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
        """Say what became of an option, or what it is called here. Raises UsageError (exit 2)."""
        commands, instead = MOVED.get(flag, ("", ""))
        if self.name in commands.split():
            raise UsageError(f"{flag} is now a separate command", f"Use: {instead}")
        if flag in GUESSED and flag not in own:
            raise UsageError(f"{self.name} has no option {flag}", f"Use {GUESSED[flag]}.")


def show_all_options(ctx: typer.Context, wanted: bool) -> None:
    """Print the help page with the rare options too, and exit."""
    if not wanted:
        return
    for parameter in ctx.command.params:
        parameter.hidden = False  # type: ignore[attr-defined]
    typer.echo(ctx.get_help())
    raise typer.Exit


class LazyCommand(TyperCommand):
    """A placeholder for a command until it is called."""

    def load(self) -> Any:
        """Import the command: its module and its function have the command's name."""
        home = getattr(import_module(f"glmimg.cli.{self.name}"), str(self.name))
        if not isinstance(home, typer.Typer):
            function, home = home, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            home.command(self.name, cls=Command)(function)
        return typer.main.get_command(home)


class LazyGroup(TyperGroup):
    """The group of all `COMMANDS`, which imports only the one to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, commands in PANELS.items():
            for name, text in commands.items():
                self.add_command(LazyCommand(name, help=text, rich_help_panel=panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that a command line names, loaded. Unknown names fail here, with similar names suggested."""
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
