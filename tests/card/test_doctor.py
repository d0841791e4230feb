"""`glmimg doctor` on the pretended card: what is right there, what is wrong, and what becomes of that."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from glmimg.job import Size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.layout import Layout
from tests.card.conftest import OnTheCard
from tests.dumps import dump

Doctor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], libraries: None, tiny: Path) -> Doctor:
    """The command on a card, with the tiny model for the demo and few ways of loading it."""
    from glmimg.cli.main import main
    from glmimg.engine.doctor import checks, machine, visit
    from glmimg.runtime.speed import Speeds
    from tests.card.card import Card

    monkeypatch.setattr(checks, "resolve", lambda name: Checkpoint("tiny", tiny))
    monkeypatch.setattr(checks, "_layouts", lambda: iter([("streamed", Layout(resident=0))]))
    monkeypatch.setattr(checks, "TOLD", 24)
    monkeypatch.setattr(checks, "CASE", checks.CASE | {"size": Size(64, 64), "steps": 2})
    monkeypatch.setitem(checks.BOUNDS["dit"], checks.HALF, 2.0)  # noise rounds farther than the demo
    monkeypatch.setattr(machine, "MADE", machine.PIECE)
    for module in (visit, sys.modules["glmimg.runtime.proposal"]):
        monkeypatch.setattr(module, "measure_speeds", lambda placement: Speeds(1e15, 4e12, 1e10, "measured here"))

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["glmimg", "doctor", "--device", "cuda", *arguments])
        with Card(), pytest.raises(SystemExit) as leaving:
            main()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, *capfd.readouterr()

    return run


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is captured from now on: graphs that answer the same whatever is put in, as one on the wrong stream does."""
    from glmimg.ar import static_decoder

    captured: list[Any] = []

    def capture(forward: Callable[[], torch.Tensor], device: Any, warm_ups: int = 3) -> Callable[[], torch.Tensor]:
        captured.append(device)
        for _ in range(warm_ups):
            said = forward()
        return lambda: said

    monkeypatch.setattr(static_decoder, "capture", capture)
    return captured


def by_way(report: dict[str, Any]) -> dict[str, str]:
    return {f"{check['half']} {check['way']}": check["state"] for check in report["checks"]}


def test_every_way_is_right(doctor: Doctor) -> None:
    status, out, _ = doctor("--json")
    report = json.loads(out)
    assert status == 0, report["text"]
    states = by_way(report)
    assert states.pop("dit attention _native_math") == "right"
    others = [states.pop(way) for way in list(states) if "attention" in way]
    assert set(others) <= {"right", "skipped"}, "kernels that the pretended card lacks are no fault of it"
    assert states == dict.fromkeys(
        ("ar host", "ar device", "ar plain", "ar graph", "ar jacobi", "ar streamed")
        + ("dit host", "dit device", "dit plain", "dit streamed"),
        "right",
    )
    assert report["facts"]["capability"] == "9.0"
    assert report["plan"]["setting"] == "--memory stage"
    assert (report["verdict"], report["distrusted"]) == ("works", {})


def test_a_stale_graph_is_found_and_not_taken_again(
    doctor: Doctor, stale: list[Any], on_card: OnTheCard, tiny: Path, tmp_path: Path
) -> None:
    from glmimg.choice import ModelChoice
    from glmimg.engine.stages import CheckpointStages, Scope
    from glmimg.events import Event, Noted
    from glmimg.image_io import read_provenance
    from tests.card.card import Card

    status, out, _ = doctor()
    assert status == 0
    assert "✗ stage 1  graph wrong" in re.sub(" +wrong", " wrong", out)
    assert "off       ar graph: wrong" in out
    Image.new("RGB", (64, 64), "red").save(tmp_path / "source.png")
    edit = ("edit", "x", "-i", tmp_path / "source.png", "-m", tiny, "-s", "32x64", "--steps", "1")
    stale.clear()
    on_card(*edit, "-o", tmp_path / "a.png")
    assert not stale
    assert read_provenance(tmp_path / "a.png").distrusted == ["ar graph"]
    heard: list[Event] = []
    with Card():
        stages = CheckpointStages(Checkpoint("tiny", tiny), ModelChoice(device="cuda"))
        for _ in range(2):
            stages.load_tokens(Layout(), Scope(64, 64), heard.append).close()
    (note,) = [event.text for event in heard if isinstance(event, Noted)]
    assert note.startswith("stage 1 does without its graph way, which failed its check on this machine")
    status, out, _ = doctor("--forget")
    assert (status, out) == (0, "trusted again: ar graph\n")
    on_card(*edit, "-o", tmp_path / "b.png")
    assert len(stale) == 1
    assert read_provenance(tmp_path / "b.png").distrusted == []


def test_a_wrong_device_and_a_way_that_raises(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    from glmimg.dit import vae
    from glmimg.engine.doctor.checks import Checks, Trial

    decode = vae.decode_latents

    def decode_badly(module: Any, latents: torch.Tensor, **how: Any) -> Any:
        return decode(module, latents * 2 if latents.device.type == "cuda" else latents, **how)

    def capture() -> float:
        raise RuntimeError("CUDA error: invalid argument\nand more")

    def tokens(self: Any) -> Iterator[Trial]:
        self.dump = dump([[1, 2], [3, 4]])
        yield "graph", capture

    monkeypatch.setattr("glmimg.dit.stage.decode_latents", decode_badly)
    monkeypatch.setattr(Checks, "_tokens", tokens)
    status, out, err = doctor("--json")
    report = json.loads(out)
    assert status == 1
    assert "error: wrong: pictures drawn here cannot be trusted. stage 2, device: wrong" in err
    states = by_way(report)
    assert (states["ar graph"], states["dit host"], states["dit device"]) == ("failed", "right", "wrong")
    assert report["distrusted"] == {"ar graph": "failed: RuntimeError: CUDA error: invalid argument"}
