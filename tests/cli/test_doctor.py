"""`glmimg doctor` as a stranger runs it: on the processor, offline, without an extra, where nothing may be written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmimg.job import Size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.known import KnownCheckpoint, _over
from glmimg.runtime.layout import Layout
from tests.conftest import Outcome

Program = Callable[..., Outcome]

SMALL: dict[str, dict[str, Any]] = {
    "vision_language_encoder": {
        "text_config": {
            **{"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4},
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "mrope_section": [2, 3, 3]},
        },
        "vision_config": {"depth": 1, "hidden_size": 64, "intermediate_size": 64, "num_heads": 2},
        "vq_config": {"latent_channels": 64, "embed_dim": 64},
    },
    "text_encoder": {"d_model": 64, "d_ff": 64, "num_layers": 1, "num_heads": 2, "d_kv": 32},
    "transformer": {"num_attention_heads": 2, "text_embed_dim": 64},
    "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1},
}
"""What the real model is said to be where a test has no time for its widths."""


class Small(KnownCheckpoint):
    """The real model, but narrow."""

    def config(self, part: str) -> dict[str, Any]:
        return _over(super().config(part), SMALL[part])


@pytest.fixture
def on_tiny(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    """The tiny model for the demo, and two ways of loading it."""
    from glmimg.engine.doctor import checks, machine

    monkeypatch.setattr(checks, "resolve", lambda name: Checkpoint("tiny", tiny))
    ways = [("streamed", Layout(resident=0)), ("int8", Layout(quantize="int8"))]
    monkeypatch.setattr(checks, "_layouts", lambda: iter(ways))
    monkeypatch.setattr(checks, "CASE", checks.CASE | {"size": Size(64, 64), "steps": 1})
    monkeypatch.setattr(machine, "MADE", machine.PIECE)


def test_full_size_on_the_processor_without_an_extra(
    glmimg: Program, on_tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmimg.engine.doctor import machine, visit
    from glmimg.runtime import quantize

    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    version = machine.version

    def without_torchao(name: str) -> str:
        if name == "torchao":
            raise machine.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(machine, "version", without_torchao)
    monkeypatch.setattr(visit, "HOST_SIDE", 64)
    monkeypatch.setattr(visit, "known_checkpoint", lambda name: Small(name, Path(name), None))
    done = glmimg("doctor", "--full-size", "--json", "--device", "cpu")
    report = json.loads(done.out)
    assert done.status == 0, done.err
    assert report["facts"]["hub"] == "not asked: HF_HUB_OFFLINE is set"
    assert report["facts"]["extras"]["torchao"] == "torchao is not installed"
    states = {f"{check['half']} {check['way']}": check["state"] for check in report["checks"]}
    assert states["dit attention _native_math"] == "right"
    assert {way: state for way, state in states.items() if "attention" not in way} == {
        **dict.fromkeys(["ar host", "ar static", "ar jacobi", "ar streamed", "dit host", "dit streamed"], "right"),
        **dict.fromkeys(["ar int8", "dit int8"], "skipped"),
    }
    timed = {f"{each['half']} {each['way']}": each for each in report["timings"]}
    assert list(timed) == ["ar default", "ar generate", "dit default", "dit stock"]
    assert all(each["seconds"] > 0 and not each["note"] for each in timed.values()), timed
    assert report["layers_timed"] == {"ar": 2, "dit": 1}
    assert report["plan"]["from"] == "timed here"


def test_model_and_full_size_exclude_each_other(glmimg: Program) -> None:
    done = glmimg("doctor", "--full-size", "-m", "demo")
    assert done.status == 2
    assert "do not go together" in done.err


def test_a_device_that_no_longer_answers_ends_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some faults of a card leave a process nothing but errors: what comes after them is nobody's fault."""
    import torch

    from glmimg.engine.doctor.checks import Checks
    from glmimg.engine.doctor.verdict import failed_ways, judge
    from glmimg.runtime.device import Placement

    def fault() -> float:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(
        Checks, "_tokens", lambda self: iter([("jacobi", lambda: 0.0), ("graph", fault), ("int8", fault)])
    )
    monkeypatch.setattr(Checks, "_answers", lambda self: False)
    examined = Checks(Placement(torch.device("cpu"), torch.float32), compiled=False)
    found = list(examined.run())
    assert [(check.way, check.state) for check in found] == [
        ("jacobi", "right"),
        ("graph", "failed"),
        ("plain", "failed"),
    ]
    assert examined.is_lost
    assert list(failed_ways(found)[0]) == ["ar graph"]
    verdict = judge(found, [], {"setting": ""})
    assert verdict.word == "wrong"
    assert "the device no longer answers after graph" in verdict.text


def test_times_of_a_plan_that_streams_are_not_better_than_its_files() -> None:
    from glmimg.engine.doctor.timings import Timing, Work
    from glmimg.engine.doctor.verdict import reasons, with_measured

    timings = [Timing("ar", "default", 0.01, 1e12, 0.9), Timing("dit", "default", 0.2, 5e14, 0.3)]
    plan = {"setting": "--memory stage", "tokens_s": 30.0, "picture_s": 20.0, "why": ""}
    whole = Work(token_bytes=1e10, tokens=1000, step_flops=1e14)
    timed = with_measured(plan, timings, whole, steps=50)
    assert (timed["tokens_s"], timed["picture_s"]) == (10.0, 10.0)
    streamed = with_measured({**plan, "setting": "--memory stream"}, timings, whole, steps=50)
    assert (streamed["tokens_s"], streamed["picture_s"]) == (30.0, 20.0)
    assert reasons(timings, timed) == []
    assert reasons(timings, {**timed, "picture_s": 11.0}) == [
        "stage 2 reaches 30% of the speed this device has in multiplying matrices"
    ]


def test_nothing_to_forget(glmimg: Program) -> None:
    done = glmimg("doctor", "--forget", "--device", "cpu")
    assert (done.status, done.out) == (0, "nothing was distrusted\n")


def test_a_hub_that_never_answers_costs_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from glmimg.engine.doctor.machine import HubCall

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        said = HubCall().answer()
    assert time.monotonic() - started < 3.5
    assert "no answer" in said or "is not reached" in said


def test_what_is_remembered_is_of_one_machine_and_survives_damage(own_home: Path) -> None:
    import torch

    from glmimg.runtime import distrust

    cpu = torch.device("cpu")
    distrust.remember(cpu, {"ar graph": "wrong"}, {"ar graph", "ar jacobi"})
    distrust.remember(cpu, {"dit compiled": "failed"}, {"dit compiled"})
    assert distrust.distrusted(cpu) == {"ar graph": "wrong", "dit compiled": "failed"}
    distrust.remember(cpu, {}, {"ar graph"})
    assert distrust.distrusted(cpu) == {"dit compiled": "failed"}
    file = own_home / distrust.NAME
    file.write_text(file.read_text().replace(torch.__version__, "1.0"))
    assert distrust.distrusted(cpu) == {}
    file.write_text("[{")
    assert distrust.distrusted(cpu) == {}


def test_where_nothing_may_be_written_the_report_still_comes(own_home: Path) -> None:
    import torch

    from glmimg.choice import ModelChoice
    from glmimg.engine.doctor.visit import Visit
    from glmimg.runtime.device import Placement

    own_home.write_text("a file where the folder would be")
    on_cpu, found = Placement(torch.device("cpu"), torch.float32), {"ar graph": "wrong"}
    kept, note = Visit(ModelChoice(), None, False, False)._remembered(on_cpu, found, {"ar graph"})
    assert kept == found
    assert note.startswith("what failed could not be remembered: cannot write")
    own_home.unlink()


def test_an_interrupt_leaves_nothing(tmp_path: Path, own_home: Path) -> None:
    command, env = (
        [sys.executable, "-m", "glmimg", "doctor", "--device", "cpu"],
        {**os.environ, "TMPDIR": str(tmp_path)},
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=env, **pipes) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("versions")
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=120)
    assert program.returncode == 130
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    assert not own_home.exists()
