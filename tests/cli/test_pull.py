"""`models pull` against a hub of our own on the loopback: fetches, resumes, says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import run_program
from tests.hub import Hub, serving

NOBODY = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def hub(tiny: Path) -> Iterator[Hub]:
    with serving() as hub:
        hub.publish("some/model", tiny)
        yield hub


def test_pull_then_use_offline(hub: Hub, tmp_path: Path) -> None:
    commit = hub.repositories["some/model"].branches["main"]
    pulled = run_program("models", "pull", "some/model", env=hub.environment(tmp_path / "home"))
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.strip().endswith(commit)
    offline = hub.environment(tmp_path / "home", offline=True) | NOBODY
    listed = [json.loads(line) for line in run_program("models", "--json", env=offline).stdout.splitlines()]
    assert ("some/model", commit, True) in [(each["model"], each["revision"], each["whole"]) for each in listed]
    drawn = run_program("tokens", "x", "-m", "some/model", "-o", tmp_path / "x.json", "-q", env=offline)
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads((tmp_path / "x.json").read_text())["model"]["revision"] == commit


def test_a_fetch_that_breaks_off_is_named_and_finished_later(hub: Hub, tmp_path: Path) -> None:
    env = hub.environment(tmp_path / "home") | {"HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    hub.breaks_off = True
    broken = run_program("models", "pull", "some/model", env=env)
    assert broken.returncode == 4
    assert "Traceback" not in broken.stderr
    assert "Run the same command again" in broken.stderr
    half = run_program("tokens", "x", "-m", "some/model", "-o", tmp_path / "x.json", env=env | {"HF_HUB_OFFLINE": "1"})
    assert half.returncode == 4
    hub.breaks_off = False
    assert run_program("models", "pull", "some/model", env=env).returncode == 0


def test_the_list_keeps_a_model_whose_next_commit_was_never_fetched(hub: Hub, tmp_path: Path) -> None:
    """An interruption can leave a branch at a commit of which no file came."""
    pulled = run_program("models", "pull", "some/model", env=hub.environment(tmp_path))
    assert pulled.returncode == 0, pulled.stderr
    next(tmp_path.rglob("refs/main")).write_text("f" * 40)
    listed = run_program("models", "list", "--json", env=hub.environment(tmp_path, offline=True))
    assert "some/model" in [json.loads(line)["model"] for line in listed.stdout.splitlines()]


def test_what_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    done = run_program("models", "pull", "some/other", env=hub.environment(tmp_path))
    assert done.returncode == 4
    assert "some/other" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_revision_that_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    done = run_program("models", "pull", "some/model", "--revision", "gone", env=hub.environment(tmp_path))
    assert done.returncode == 4
    assert "some/model has no revision gone" in done.stderr
    assert "network" not in done.stderr


def test_no_network(hub: Hub, tmp_path: Path) -> None:
    done = run_program("models", "pull", "some/model", env=hub.environment(tmp_path) | NOBODY)
    assert done.returncode == 4
    assert "could not be fetched" in done.stderr
