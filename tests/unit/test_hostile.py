"""A sample of the mutated files of `tests.bench.hostile`, in a process of its own; the full run's figures are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.hostile.case import FAULTS, Case, try_case

SAMPLE = {
    "dumps": 150,
    "pictures": 150,
    "presets": 60,
    "configs": 40,
    "lists": 80,
    "checkpoints": 40,
    "parts": 40,
    "signals": 1,
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    counts = [word for kind, number in SAMPLE.items() for word in (f"--{kind}", str(number))]
    kept = tmp_path_factory.mktemp("kept")
    command = [sys.executable, "-m", "tests.bench.hostile", *counts, "--seed", "2", "--keep", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sys.stderr.write(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", SAMPLE)
def test_nothing_comes_of_hostile_files(figures: dict[str, Any], kind: str) -> None:
    assert figures[kind]["cases"] == SAMPLE[kind]
    assert {fault: figures[kind][fault] for fault in FAULTS if figures[kind][fault]} == {}


def test_what_is_watched_is_seen(tmp_path: Path) -> None:
    """A command that writes beside its folder is a fault, so that a count of none says something."""
    dump = Path(__file__).parents[1] / "data" / "dumps" / "v2" / "plain.tokens.json"
    run = Case({}, [["inspect", str(dump), "--picture", "../grid.png"], ["inspect", "nosuch.json"]], frozenset({0}))
    assert try_case(run, tmp_path / "case").faults.keys() == {"file outside", "wrong status"}
