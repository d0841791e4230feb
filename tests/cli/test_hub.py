"""A model pulled from the hub is used by its name: offline, at any revision, with only what glmimg reads fetched.

Real repositories hold more than that: a README, a licence, pictures. huggingface_hub refuses a
snapshot without them to whoever asks for all of it.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest
from PIL import Image

from glmimg.image_io import read_provenance
from tests.conftest import run_program
from tests.hub import serving

MODEL, STYLE, SEVERAL, HALF = "some/model", "some/style", "some/styles", "some/half"
SIZE = ("--size", "64x64", "-q")


@dataclass(frozen=True)
class Machine:
    """One that pulled while there was a hub, and now is without: `some/model` at `main`, `dev` and `old`."""

    environment: dict[str, str]
    commits: dict[str, str]

    def run(self, *arguments: str | Path) -> CompletedProcess[str]:
        return run_program(*arguments, env=self.environment)


def furnish(folder: Path, readme: str) -> Path:
    """What real repositories hold beside the model."""
    (folder / "README.md").write_text(readme)
    (folder / "LICENSE").write_text("MIT")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    Image.new("RGB", (8, 8)).save(folder / "picture.png")
    return folder


def style(folder: Path, *names: str) -> Path:
    """Adapters of diffusers' kind for one module of the tiny model."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    to_q = "transformer.transformer_blocks.0.attn1.to_q"
    weights = {f"{to_q}.lora_A.weight": torch.ones(2, 32), f"{to_q}.lora_B.weight": torch.ones(32, 2)}
    for name in names or ["pytorch_lora_weights"]:
        save_file(weights, folder / f"{name}.safetensors")
    return folder


def fetch_with_hf(name: str, *patterns: str, env: dict[str, str]) -> None:
    """Fetch a part of a repository with huggingface_hub's own command line."""
    includes = [word for pattern in patterns for word in ("--include", pattern)]
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", "download", name, *includes]
    run(command, env=env, check=True, capture_output=True)


@pytest.fixture(scope="module")
def machine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    home, shelf = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("shelf")
    with serving() as hub:
        commits = {}
        for branch in ("main", "dev", "old"):
            folder = furnish(shutil.copytree(tiny, shelf / branch), f"# {branch}")
            commits[branch] = hub.publish(MODEL, folder, branch)
        hub.publish(HALF, shelf / "main")
        hub.publish(STYLE, furnish(style(shelf / "style"), "# A style"))
        hub.publish(SEVERAL, furnish(style(shelf / "styles", "first", "second"), "# Two"))
        env = hub.environment(home)
        for revision in ([], ["--revision", "dev"], ["--revision", commits["old"]]):
            pulled = run_program("models", "pull", MODEL, *revision, env=env)
            assert pulled.returncode == 0, pulled.stderr
        fetch_with_hf(STYLE, "*.safetensors", env=env)
        fetch_with_hf(SEVERAL, "*.safetensors", env=env)
        fetch_with_hf(HALF, "model_index.json", "vae/*", env=env)
        return Machine(hub.environment(home, offline=True), commits)


def test_a_pulled_model_draws_by_its_name(machine: Machine, tmp_path: Path) -> None:
    drawn = machine.run("t2i", "a tree", "-m", MODEL, "--steps", "1", *SIZE, "-o", tmp_path / "x.png")
    assert drawn.returncode == 0, drawn.stderr
    assert Image.open(tmp_path / "x.png").size == (64, 64)


def test_only_what_glmimg_reads_was_fetched(machine: Machine) -> None:
    fetched = {path.name for path in Path(machine.environment["HF_HOME"]).rglob("snapshots/**/*")}
    assert "model_index.json" in fetched
    assert not fetched & {"README.md", "LICENSE", ".gitattributes", "picture.png"}


@pytest.mark.parametrize("said", ["main", "dev", "commit of dev", "commit of old"])
def test_a_revision_is_a_branch_or_a_commit(machine: Machine, tmp_path: Path, said: str) -> None:
    branch = said.removeprefix("commit of ")
    commit = machine.commits[branch]
    revision = commit if said != branch else branch
    drawn = machine.run("tokens", "a tree", "-m", MODEL, "--revision", revision, *SIZE, "-o", tmp_path / "x.json")
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads((tmp_path / "x.json").read_text())["model"]["revision"] == commit


def test_list_names_every_revision(machine: Machine) -> None:
    listed = machine.run("models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    whole = [each["revision"] for each in found if each["model"] == MODEL and each["whole"]]
    assert whole == sorted(machine.commits.values())
    assert [each["whole"] for each in found if each["model"] == HALF] == [False]


def test_check_takes_the_name(machine: Machine) -> None:
    checked = machine.run("models", "check", MODEL, "--json")
    assert checked.returncode == 0, checked.stderr
    said = json.loads(checked.stdout)
    assert (said["model"], said["usable"]) == (MODEL, True)
    assert said["folder"].endswith(machine.commits["main"])


@pytest.mark.parametrize("branch", ["dev", "old"])
def test_check_takes_a_revision(machine: Machine, branch: str) -> None:
    commit = machine.commits[branch]
    checked = machine.run("models", "check", MODEL, "--revision", commit, "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["folder"].endswith(commit)


def test_what_was_never_pulled_is_named(machine: Machine) -> None:
    done = machine.run("models", "check", "some/other")
    assert done.returncode == 4
    assert "some/other is not on this machine" in done.stderr


@pytest.mark.parametrize("revision", ["gone", "."])
def test_a_revision_that_was_never_pulled_is_named(machine: Machine, revision: str) -> None:
    done = machine.run("tokens", "x", "-m", MODEL, "--revision", revision, *SIZE)
    assert done.returncode == 4
    assert f"models pull {MODEL} --revision {revision}" in done.stderr


def test_what_was_pulled_in_part_is_told_from_what_is_not_there(machine: Machine) -> None:
    done = machine.run("tokens", "x", "-m", HALF, *SIZE)
    assert done.returncode == 4
    assert f"{HALF} is only partly on this machine" in done.stderr
    assert f"Download the rest: glmimg models pull {HALF}" in done.stderr


@pytest.mark.parametrize("adapter", [f"{STYLE}:0.5", f"{SEVERAL}:second.safetensors:0.5"])
def test_an_adapter_fetched_without_its_readme_works_by_its_name(
    machine: Machine, tmp_path: Path, adapter: str
) -> None:
    pytest.importorskip("peft")
    drawn = machine.run(
        "t2i", "a tree", "-m", MODEL, "--lora", adapter, "--steps", "1", *SIZE, "-o", tmp_path / "x.png"
    )
    assert drawn.returncode == 0, drawn.stderr
    assert read_provenance(tmp_path / "x.png").changes == [f"lora {adapter}"]


def test_of_several_adapters_in_a_repository_one_has_to_be_chosen(machine: Machine) -> None:
    done = machine.run("t2i", "a tree", "-m", MODEL, "--lora", SEVERAL, *SIZE)
    assert done.returncode == 3
    assert f"--lora {SEVERAL}:first.safetensors" in done.stderr
