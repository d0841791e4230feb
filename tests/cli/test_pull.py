"""`models pull` against a hub of our own on the loopback: fetches, resumes, says what is wrong."""

from __future__ import annotations

import json
import shutil
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
    assert "the others are downloaded again" in broken.stderr
    half = run_program("tokens", "x", "-m", "some/model", "-o", tmp_path / "x.json", env=env | {"HF_HUB_OFFLINE": "1"})
    assert half.returncode == 4
    hub.breaks_off = False
    assert run_program("models", "pull", "some/model", env=env).returncode == 0
    assert hub.ranges == [], "huggingface_hub goes on within files now: say so"


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
    assert "could not be downloaded" in done.stderr


@pytest.mark.parametrize(
    ("refusal", "words", "hint"),
    [
        ((403, "GatedRepo", "Access to model some/model is restricted."), "is restricted.", "/some/model, then give a"),
        ((401, "", "Invalid credentials in Authorization header"), "does not accept the token (401)", "hf auth login"),
        ((403, "", ""), "the hub forbids it (403)", "access"),
        ((404, "RepoNotFound", ""), "the hub has no model some/model", "Check the name"),
        ((503, "", ""), "the hub has a problem (503)", "Try again later"),
        ((429, "", ""), "too many requests from here (429)", "Wait"),
    ],
)  # fmt: skip
def test_a_refusal_is_what_the_hub_said(
    hub: Hub, tmp_path: Path, refusal: tuple[int, str, str], words: str, hint: str
) -> None:
    hub.refusal = refusal
    done = run_program("models", "pull", "some/model", env=hub.environment(tmp_path) | {"HF_TOKEN": "hf_x"})
    assert done.returncode == 4
    assert words in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pointer_that_the_hub_serves_is_named(hub: Hub, tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "pointers")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    hub.publish("some/pointers", folder)
    done = run_program("models", "pull", "some/pointers", env=hub.environment(tmp_path / "home"))
    assert done.returncode == 4
    assert "vae/diffusion_pytorch_model.safetensors is a Git LFS pointer" in done.stderr


def test_pull_into_a_folder_and_remove_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    env = hub.environment(tmp_path / "home")
    pulled = run_program("models", "pull", "some/model", "--local-dir", tmp_path / "here", env=env)
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "here" / "model_index.json").exists()
    gone = run_program("models", "rm", "some/model", env=env)
    assert (gone.returncode, "some/model is not on this machine" in gone.stderr) == (4, True)
    assert run_program("models", "pull", "some/model", env=env).returncode == 0
    removed = run_program("models", "rm", "some/model", "--json", env=env)
    assert removed.returncode == 0, removed.stderr
    assert json.loads(removed.stdout)["freed_bytes"] > 100_000
    assert not list((tmp_path / "home").rglob("*.safetensors"))
