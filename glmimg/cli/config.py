"""`glmimg config`: the user's own defaults, in a file."""

from __future__ import annotations

from typing import Annotated

import typer

from glmimg.choice import Output
from glmimg.cli import completing
from glmimg.cli.arguments import argument
from glmimg.cli.console import Console
from glmimg.cli.options import Request, only, takes
from glmimg.home import config_path
from glmimg.settings_file import plain

config = typer.Typer(help="Your own defaults: path, show, set, unset.", add_completion=False)

Key = Annotated[str, argument("KEY", "A setting, such as steps.", completing.settings)]
Values = Annotated[list[str], argument("VALUE", "Its new default; several values for an option that takes several.")]


@config.callback(invoke_without_command=True)
@takes(only(Output, "as_json"))
def config_default(request: Request, context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_config(request)


@config.command()
@takes(only(Output, "as_json"))
def path(request: Request) -> None:
    """Print where the config file is, or would be. Presets and word lists are kept beside it."""
    found = config_path()  # printed without reading the file, so that a faulty one can be found too
    Console(json=bool(request.flags.get("as_json"))).result(
        str(found), {"config": str(found), "exists": found.exists()}
    )


@config.command()
@takes(only(Output, "as_json"))
def show(request: Request) -> None:
    """Show the config file."""
    show_config(request)


@config.command("set")
@takes(only(Output, "as_json"))
def set_(request: Request, key: Key, value: Values) -> None:
    """Set your own default for an option.

    \b
    Examples:
      glmimg config set model demo
      glmimg config set steps 30
    """
    from glmimg.config import read_config, set_value

    name = key.replace("-", "_")
    changed = set_value(name, value)
    request.console.result(str(changed), {"config": str(changed), name: plain(read_config().get(name))})


@config.command()
@takes(only(Output, "as_json"))
def unset(request: Request, key: Key) -> None:
    """Remove a setting from the config file."""
    from glmimg.config import unset_value

    changed = unset_value(key.replace("-", "_"))
    request.console.result(str(changed), {"config": str(changed)})


def show_config(request: Request) -> None:
    """Show the config file as it is, or its settings as JSON. Raises BadConfig (exit 3)."""
    from glmimg.config import config_text, read_config

    console, values = request.console, read_config()
    if values or console.json:
        console.result(config_text().rstrip(), {name: plain(value) for name, value in values.items()})
    else:
        console.note("you have not set any defaults yet; glmimg config set KEY VALUE sets one")
