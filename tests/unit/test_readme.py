"""The pages: short enough, links that lead somewhere, tables as the code has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glmimg.cli.commands import PANELS
from tests.docs.console import DURATION, matches, same, steps
from tests.generate import commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


def test_the_readme_lists_every_command() -> None:
    page = (ROOT / "README.md").read_text()
    for panel, names in PANELS.items():
        (line,) = re.findall(rf"^{panel} +(.*)$", page, re.MULTILINE)
        assert line.split() == list(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_has_a_head_and_an_end(page: Path) -> None:
    """A line of text just below one would be its last row; without its second line it is no table."""
    outside = re.sub(r"^```.*?^```$|<!--.*?-->\n", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for block in filter(lambda block: re.search(r"^\|", block, re.MULTILINE), outside.split("\n\n")):
        head, rule, *rows = block.strip().splitlines()
        assert re.fullmatch(r"\|( -+ \|)+", rule), head
        assert all(row.startswith("|") for row in (head, *rows)), head


def test_the_commands_page_is_fresh() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == commands(), "Run python -m tests.generate"


def test_the_house_is_as_large_as_its_page_says() -> None:
    """Within a tenth."""
    rows = re.findall(r"^\| `([a-z/]+)/` \| ([\d,]+) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert len(rows) >= 8
    for folder, told in rows:
        counted = sum(len(path.read_text().splitlines()) for path in (ROOT / "glmimg" / folder).glob("*.py"))
        assert abs(counted - int(told.replace(",", ""))) <= counted / 10, (folder, counted)


def test_blocks_are_compared_line_by_line() -> None:
    block = "$ echo a \\\n    b\na b\n$ date\n...\n"
    assert list(steps(block)) == [("echo a \\\n    b", ["a b"]), ("date", ["..."])]
    assert matches("took 1.5 s", "took 12 s")
    assert matches("seed ...", "seed 77")
    assert not matches("seed 1", "seed 2")
    assert not same(["a"], ["a", "b"])
    assert DURATION.sub("", "0.5 s") == ""
