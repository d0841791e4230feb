"""Help pages: short, whole, and the rare options one flag away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from glmimg.cli.commands import COMMANDS, LazyCommand
from tests.conftest import Outcome

Run = Callable[..., Outcome]
PARTS = {
    "models": ("list", "pull", "check", "plan"),
    "presets": ("list", "show", "save"),
    "config": ("path", "show", "set", "unset"),
}
PAGES = [[name] for name in COMMANDS] + [[name, part] for name, parts in PARTS.items() for part in parts]


@pytest.fixture(autouse=True)
def _hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_a_page_fits_sixty_lines(glmimg: Run, page: list[str]) -> None:
    shown = glmimg(*page, "--help")
    assert shown.status == 0
    assert len(shown.out.splitlines()) <= 60


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_on_the_whole_page(glmimg: Run, name: str) -> None:
    if name in PARTS:
        return  # a group
    whole, short = glmimg(name, "--help-all"), glmimg(name, "--help")
    assert whole.status == 0
    for parameter in LazyCommand(name, help="").load().params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in whole.out
    assert len(whole.out) >= len(short.out)


def test_defaults_are_no_markup(glmimg: Run) -> None:
    """`[default: 50]` reads like a tag of Rich's."""
    shown = glmimg("t2i", "--help-all").out
    for default in ("[default: 50]", "[default: 1.5]", "[default: auto]", "[default: the model's]", "[default: none]"):
        assert default in shown


def test_the_rare_options_are_not_on_the_short_page(glmimg: Run) -> None:
    short, whole = glmimg("t2i", "--help").out, glmimg("t2i", "--help-all").out
    for flag in ("--guidance-batch", "--ar-window", "--top-k", "--no-metadata"):
        assert flag not in short
        assert flag in whole


def test_the_first_page_groups_the_commands_and_shows_two_examples(glmimg: Run) -> None:
    shown = glmimg("--help").out
    places = [shown.index(f"─ {panel} ") for panel in ("Draw", "Stages", "Dumps", "Machine")]
    assert places == sorted(places)
    assert shown.count("glmimg t2i") + shown.count("glmimg edit") == 2
