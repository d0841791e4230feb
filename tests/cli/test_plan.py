"""`glmimg models plan`, and the options that decide memory and passes, as somebody types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

Run = Callable[..., Outcome]


def test_the_real_model_can_be_planned_without_it(glmimg: Run) -> None:
    outcome = glmimg("models", "plan", "--vram", "12GB", "--json")
    assert outcome.status == 0
    proposal = json.loads(outcome.out)
    chosen = next(each for each in proposal["settings"] if each["chosen"])
    assert chosen["fits"]
    assert max(chosen["ar_peak"], chosen["dit_peak"]) <= 12e9
    assert [each["command"] for each in proposal["settings"]][:2] == ["--memory resident", "--memory stage"]


def test_a_plan_reads_as_a_table(glmimg: Run) -> None:
    outcome = glmimg("models", "plan", "--vram", "24GB", "--size", "1024x1024")
    assert outcome.status == 0
    assert "zai-org/GLM-Image, 1024x1024, bf16" in outcome.out
    assert "--memory auto takes --memory stage." in outcome.out


def test_this_machine(glmimg: Run, tiny: Path) -> None:
    outcome = glmimg("models", "plan", "--model", tiny, "--device", "cpu", "--json")
    assert outcome.status == 0
    proposal = json.loads(outcome.out)
    assert "measured here" in proposal["headline"]
    assert proposal["chosen"] == "--memory stage"


def test_nothing_fits(glmimg: Run) -> None:
    outcome = glmimg("models", "plan", "--vram", "1GB")
    assert outcome.status == 5
    assert "its smallest plan needs" in outcome.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--memory", "big"], "--memory big"),
        (["--guidance-window", "0.8,0.1"], "--guidance-window"),
        (["--guidance-window", "-1,2"], "--guidance-window"),
        (["--guidance-window", "half"], "--guidance-window"),
        (["--scheduler", "magic"], "--scheduler"),
        (["--quantize", "int7"], "--quantize"),
        (["--memory", "stream", "--quantize", "none,ar=what"], "--quantize"),
        (["--steps", "0"], "--steps"),
        (["--steps", "10000"], "--steps"),
        (["--cache", "0"], "--cache"),
        (["--device", "gpu"], "--device gpu"),
        (["--dtype", "fp7"], "--dtype fp7"),
    ],
)
def test_what_cannot_be_is_said_before_weights_load(
    glmimg: Run, tiny: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    outcome = glmimg("t2i", "a tree", "--model", tiny, "-o", tmp_path / "x.png", *options)
    assert outcome.status == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "extra"), [(["--cache", "0.1"], "cache"), (["--quantize", "int8"], "torchao")])
def test_a_missing_extra_is_named(
    glmimg: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], extra: str
) -> None:
    from glmimg.engine import memory
    from glmimg.runtime import quantize

    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    outcome = glmimg("t2i", "a tree", "--model", tiny, "-o", tmp_path / "x.png", *options)
    assert outcome.status == 2
    assert f"'.[{extra}]'" in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_picture_says_how_its_passes_were_saved(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    drawn = glmimg(
        "t2i", "a tree", "--model", tiny, "-o", out, "-s", "64x64", "--seed", "1", "--steps", "4", "--scheduler", "dpm",
        "--guidance-window", "0,0.5", "--json",
    )  # fmt: skip
    assert drawn.status == 0, drawn.err
    said = json.loads(drawn.out)
    assert said["scheduler"] == "dpm"
    assert said["guidance_window"] == [0.0, 0.5]
    again = glmimg("replay", out, "--model", tiny, "-o", tmp_path / "again.png", "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["guidance_window"] == [0.0, 0.5]
    from PIL import Image

    assert Image.open(out).tobytes() == Image.open(tmp_path / "again.png").tobytes()


def test_a_rate_needs_workers(glmimg: Run, tmp_path: Path) -> None:
    rate = ("models", "plan", "--pictures-per-hour", "600", "--size", "1024x1024")
    guessed = glmimg(*rate, "--gpu", "NVIDIA H100 80GB HBM3")
    assert guessed.status == 0
    assert "600 pictures/hour of 1024x1024, 50 steps guided" in guessed.out
    assert "--ar-workers 1 --dit-workers 3" in guessed.out
    (tmp_path / "results.jsonl").write_text('{"size": "1024x1024", "seconds": {"tokens": 9.0, "picture": 60.0}}\n')
    measured = glmimg(*rate, "--measured", tmp_path, "--json")
    assert measured.status == 0
    fields = json.loads(measured.out)
    assert (fields["ar_workers"], fields["decoders"], fields["pictures_per_hour"]) == (2, 10, 600)
    assert fields["seconds"]["jobs"] == 1


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--pictures-per-hour", "600"], 2, "needs --gpu or --measured"),
        (["--pictures-per-hour", "600", "--gpu", "Voodoo 2"], 2, "no figures are known for the card"),
        (["--measured", "nowhere"], 2, "go with --pictures-per-hour"),
        (["--gpu", "Voodoo 2"], 2, "no figures are known for the card"),
        (["--pictures-per-hour", "600", "--measured", "nowhere"], 3, "contains no measured times"),
    ],
)
def test_a_rate_that_cannot_be_planned(glmimg: Run, flags: list[str], status: int, words: str) -> None:
    outcome = glmimg("models", "plan", *flags)
    assert (outcome.status, words in outcome.err) == (status, True), outcome.err


def test_a_plan_counts_compressed_weights(glmimg: Run) -> None:
    plans = [json.loads(glmimg("models", "plan", "--vram", "12GB", "--json", *more).out)
             for more in ([], ["--quantize", "int8"], ["--quantize", "ar=int4,dit=int8"])]  # fmt: skip
    weights = [plan["ar"]["weights"] for plan in plans]
    assert weights[1] < 0.6 * weights[0]
    assert weights[2] < 0.6 * weights[1]
    assert "stream" in plans[0]["chosen"] or "auto" in plans[0]["chosen"]
    assert plans[1]["chosen"] == "--memory offload"
    assert not any("stream" in setting["command"] for setting in plans[1]["settings"])
    assert "(int4, int8 layers)" in plans[2]["headline"]


def test_a_plan_counts_source_pictures(glmimg: Run, tmp_path: Path) -> None:
    """2.01 GB of keys and values for a megapixel; the picture is as large as its first source."""
    from PIL import Image

    Image.new("RGB", (1024, 1024)).save(tmp_path / "a.png")
    plain, one, two = (
        json.loads(glmimg("models", "plan", "--vram", "80GB", "--json", *more).out)
        for more in ([], ["-i", tmp_path / "a.png"], ["-i", tmp_path / "a.png", "--source-size", "1020x1030"])
    )
    assert [plan["dit"]["kv_cache"] for plan in (plain, one)] == [0, 0], "the VAE's height is above that of the DiT"
    assert two["dit"]["kv_cache"] == pytest.approx(2 * 2.0133e9, rel=1e-3)
    assert one["ar"]["weights"] - plain["ar"]["weights"] == pytest.approx(2.4e9, rel=0.01)
    assert one["ar"]["activations"] > plain["ar"]["activations"] + 0.1e9
    assert "1024x1024 from 1024x1024, 1024x1024, bf16" in two["headline"]
    small = glmimg("models", "plan", "--vram", "24GB", "-i", tmp_path / "a.png", "--source-size", "100x9000")
    assert "1024x1024 from 1024x1024, 512x2048" in small.out


@pytest.mark.parametrize("size", ["big", "0x5", "-1x4", "10"])
def test_a_source_size_that_is_none(glmimg: Run, size: str) -> None:
    outcome = glmimg("models", "plan", "--vram", "24GB", f"--source-size={size}")
    assert (outcome.status, "--source-size" in outcome.err) == (2, True)


def test_exact_and_compressed_settings_stand_side_by_side(glmimg: Run) -> None:
    outcome = glmimg("models", "plan", "--vram", "12GB", "--quantize", "auto")
    assert outcome.status == 0
    lines = outcome.out[outcome.out.index("--quantize") :].splitlines()
    assert lines[0].split() == ["--quantize", "stage", "1", "stage", "2", "tokens", "picture", "memory", "changes"]
    assert [line.split()[0] for line in lines[1:4]] == ["none", "ar=int8", "ar=int4"]
    assert lines[1].split()[-1] == "nothing"
    assert lines[-1].endswith("--quantize auto takes ar=int4.")


def test_auto_compresses_nothing_that_fits(glmimg: Run, tiny: Path, tmp_path: Path) -> None:
    plain = ("t2i", "a tree", "-m", tiny, "-s", "64x64", "--seed", "1", "--steps", "1", "--json", "--device", "cpu")
    drawn = glmimg(*plain, "--quantize", "auto", "-o", tmp_path / "x.png")
    assert drawn.status == 0, drawn.err
    assert "--quantize auto takes none" in drawn.err
    assert "quantize" not in drawn.out


@pytest.mark.parametrize("flags", [[], ["--quantize", "auto"]])
def test_slow_streaming_is_said_before_it_starts(
    glmimg: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    """Where exact weights have to be streamed: a note that names the flag, or with `auto` the flag is taken."""
    from dataclasses import replace

    from glmimg.engine.stages import CheckpointStages
    from glmimg.image_io import read_provenance
    from glmimg.runtime.compression import Way
    from glmimg.runtime.layout import PLANS

    pytest.importorskip("torchao")
    exact = Way("none", True, 1e9, 1e9, 1.0, 2500.0, 200.0, "nothing", PLANS["stream"])
    close = replace(exact, quantize="ar=int8", tokens_s=30.0, changes="tokens", plan=PLANS["stage"])
    monkeypatch.setattr(CheckpointStages, "ways", lambda self, scope: [exact, close])
    plain = ("t2i", "a tree", "-m", tiny, "-s", "64x64", "--seed", "1", "--steps", "1", "--json", "--device", "cpu")
    drawn = glmimg(*plain, *flags, "-o", tmp_path / "x.png")
    assert drawn.status == 0, drawn.err
    if flags:
        assert "--quantize auto takes ar=int8" in drawn.err
        assert read_provenance(tmp_path / "x.png").changes == ["quantize ar=int8"]
    else:
        said = "layers are streamed, about 45 min 1 s a picture; --quantize ar=int8 takes about 3 min 51 s"
        assert f"{said} and changes tokens" in drawn.err
