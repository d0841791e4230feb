"""The README keeps what it promises: fresh tables, two lines first, no dead links."""

from __future__ import annotations

import re

from tests.readme import README, with_fresh_table


def test_the_options_table_is_fresh() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_fresh_table(text) == text, "run: python -m tests.readme"


def test_the_two_lines_come_first() -> None:
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("python3 -m venv")]
    assert "-c constraints.txt" in lines[0]
    assert "--model demo" in lines[0]
    assert lines[1].endswith("python -m pytest")


def test_local_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
