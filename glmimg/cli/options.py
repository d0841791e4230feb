"""From knobs to command options: each model that a command takes is expanded into options in its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer
from pydantic import BeforeValidator
from rich.markup import escape

from glmimg.choice import Output
from glmimg.cli.commands import show_all_options
from glmimg.cli.completing import presets, values_of
from glmimg.cli.console import Console
from glmimg.knob import DRAW, Declared, Settings, knobs
from glmimg.request import JOB, NOTHING, Layer, check_values, precedence, ranked, read_environment

Model = TypeVar("Model", bound=Settings)

PRESET = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        "-p",
        metavar="NAME",
        help="A preset's name or file; repeatable, later ones win.",
        rich_help_panel=DRAW,
        show_default=False,
        autocompletion=presets,
    ),
]


HELP_ALL = Annotated[
    bool,
    typer.Option("--help-all", help="Show the rare options too, and exit.", is_eager=True, callback=show_all_options),
]


MOST_OPENED = 4
"""Windows that --open opens: of forty pictures nobody wants forty."""

BOTH_SEEDS = "-n cannot be combined with a list of seeds", "List all the seeds, such as --seed 1..8."


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    flags:   values of its options, by knob name; only those that were given
    presets: names of presets, later ones win
    seeds:   the list of seeds, if one was given; `flags` has the first
    """

    flags: Mapping[str, Any] = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def with_seeds(self) -> Request:
        """The request of a command that takes a list of seeds. Raises UsageError (exit 2)."""
        text = str(self.flags.get("seed"))
        if "," not in text and ".." not in text:
            return self
        from glmimg.ideas import parse_seeds

        seeds = parse_seeds(text)
        return replace(self, flags={**self.flags, "seed": seeds[0]}, seeds=seeds)

    def settings(self, model: type[Model], file: Layer | None = None) -> Model:
        """A complete settings model other than the job: flag > environment > config file, then its own defaults.

        file:   settings of the picture or dump the command starts from; then flag > file > environment > config
        raises: UsageError (exit 2) naming the option or the variable, BadConfig (exit 3)
        """
        return model(**self._layers((model,), file=file))

    def job(self, *, line: Layer = NOTHING, file: Layer | None = None) -> dict[str, Any]:
        """The job settings that were given, by knob name. Raises as `settings`, BadPreset (exit 3)."""
        from glmimg.preset import load_stack

        return self._layers(JOB, preset=load_stack(self.presets).values, line=line, file=file)

    @cached_property
    def console(self) -> Console:
        """The console to print to."""
        output = self.settings(Output)
        opens = MOST_OPENED if output.open else 0
        return Console(output.as_json, output.quiet, output.verbose, output.events, output.show, opens)

    def job_layers(self) -> tuple[Layer, Layer, Layer]:
        """The settings of flags, environment and config file for all jobs of a list. Raises as `settings`."""
        return self._given(JOB)

    def origins(self, models: tuple[type[Settings], ...], file: Layer | None = None) -> dict[str, str]:
        """Where each given knob was set: an option, a variable, a preset, a file. Raises as `job`."""
        from glmimg.home import config_path
        from glmimg.preset import load_stack

        flags, environment, config = self._given(models)
        presets = load_stack(self.presets)
        layers = ranked(flags=flags, environment=environment, preset=presets.values, config=config, file=file)
        found: dict[str, str] = {}
        for each in (each for model in models for each in knobs(model)):
            words = {"flags": each.flag, "environment": each.variable, "config": str(config_path()), "file": "the file"}
            words["preset"] = f"preset {presets.origin(each.name, self.presets)}"
            setter = next((name for name, layer in layers.items() if layer.get(each.name) is not None), None)
            if setter is not None:
                found[each.name] = words[setter]
        return found

    def _layers(self, models: tuple[type[Settings], ...], **more: Any) -> dict[str, Any]:
        flags, environment, config = self._given(models)
        return precedence(flags=flags, environment=environment, config=config, **more)

    def _given(self, models: tuple[type[Settings], ...]) -> tuple[Layer, Layer, Layer]:
        from glmimg.config import read_config

        names = {each.name for model in models for each in knobs(model)}
        flags, config = ({name: layer[name] for name in names & layer.keys()} for layer in (self.flags, read_config()))
        return check_values(flags, *models), read_environment(*models), config


@dataclass(frozen=True)
class Group:
    """Some knobs of a model, as taken by a command. rare: only --help-all shows their options."""

    model: type[Settings]
    names: frozenset[str]
    rare: bool = False

    @property
    def declared(self) -> list[Declared]:
        return [each for each in knobs(self.model) if each.name in self.names]


def only(model: type[Settings], *names: str) -> Group:
    """Only these knobs of a model."""
    return Group(model, frozenset(names))


def without(model: type[Settings], *names: str, rare: bool = False) -> Group:
    """All knobs of a model but these."""
    return Group(model, frozenset(each.name for each in knobs(model)) - {*names}, rare)


def takes(*models: type[Settings] | Group) -> Callable[[Any], Any]:
    """Give a command the options of these models; their values arrive as its first argument, `request`."""
    groups = [each if isinstance(each, Group) else without(each) for each in models]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {each.name: (option(each, rare=group.rare), None) for group in groups for each in group.declared}
        own = list(inspect.signature(command).parameters.values())[1:]
        hints = get_type_hints(command, include_extras=True)
        arguments = {parameter.name: (hints[parameter.name], parameter.default) for parameter in own}
        with_presets = any(group.model in JOB for group in groups)
        presets = {"preset": (PRESET, None)} if with_presets else {}

        @wraps(command)
        def run(**values: Any) -> None:
            del values["help_all"]
            flags = {name: values.pop(name) for name in options}
            given = {name: value for name, value in flags.items() if value not in (None, [])}
            presets = tuple(values.pop("preset", None) or ())
            request = Request(given, presets)
            command(request.with_seeds() if "sweep" in options else request, **values)

        _set_signature(run, {**arguments, **presets, **options, "help_all": (HELP_ALL, False)})
        return run

    return decorate


def _set_signature(command: Any, parameters: Mapping[str, tuple[Any, Any]]) -> None:
    """Set a function's signature to these keyword parameters: name -> (annotation, default)."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    command.__signature__ = inspect.Signature(
        [inspect.Parameter(name, keyword, annotation=hint, default=value) for name, (hint, value) in parameters.items()]
    )
    command.__annotations__ = {name: hint for name, (hint, _) in parameters.items()}


def option(declared: Declared, *, rare: bool = False) -> Any:
    """The annotation from which typer makes an option."""
    knob = declared.knob
    flags = [f"{declared.flag}/--no-{declared.flag[2:]}" if knob.negated else declared.flag]
    default = knob.default or _default_text(declared)
    info = typer.Option(
        *flags,
        *([knob.short] if knob.short else []),
        metavar=knob.metavar or "",
        help=escape(f"{knob.help} [default: {default}]" if default else knob.help),
        show_default=False,
        hidden=rare or knob.rare,
        autocompletion=values_of(declared),
        rich_help_panel=knob.panel,
    )
    return Annotated[_plain_type(declared), info]


def _default_text(declared: Declared) -> str:
    plain = declared.default not in (None, (), False, "")
    return str(declared.default) if plain else ""


def _plain_type(declared: Declared) -> Any:
    """What typer parses: numbers, switches and lists directly; types with a syntax of their own as text."""
    bare = next((each for each in _alternatives(declared.annotation) if each is not type(None)), str)
    if get_origin(bare) is tuple and get_args(bare)[1:] == (...,):
        return list[str] | None
    has_own_form = any(isinstance(each, BeforeValidator) for each in declared.limits)
    return bare | None if bare in (int, float, bool) and not has_own_form else str | None


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union, without what `Annotated` adds; a Literal counts as text."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return [str]
    if hasattr(annotation, "__args__") and type(None) in get_args(annotation):
        return [kind for each in get_args(annotation) for kind in _alternatives(each)]
    return [annotation]
