"""`glmimg batch` and `t2i --prompts -` as a person runs them, over the tiny checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmimg.image_io import read_provenance
from tests.stages.test_lora import DIT_TARGET, write_lora

LIST = """{"prompt": "a red circle", "name": "circle", "seed": 4}
{"prompt": "a sign that says 'OPEN'", "name": "sign", "size": "96x64", "seed": 5}
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.jsonl"
    path.write_text(LIST)
    return path


def test_draws_what_t2i_draws_and_then_nothing(glmimg: Callable[..., object], tiny: Path, jobs: Path) -> None:
    out, common = jobs.parent / "out", ("-m", tiny, "-s", "64x64", "--steps", "2")
    first = glmimg("batch", jobs, "-o", out, *common, "--gallery", "--json")
    assert first.status == 0, first.err
    events = [json.loads(line) for line in first.out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "loading"] == [
        "plan", "tokens", "tokens", "job", "job", "end",
    ]  # fmt: skip
    assert events[0] | {"total": 2, "done": 0, "to_write": 2, "to_paint": 0, "suspect": 0} == events[0]
    last = [event for event in events if event["event"] == "job"][-1]
    assert (last["status"], last["progress"]["done"], last["progress"]["seconds_left"]) == ("done", 2, 0)
    assert last["progress"]["pictures_per_hour"] > 0
    alone = glmimg("t2i", "a red circle", "--seed", "4", "-o", out / "alone.png", *common)
    assert alone.status == 0, alone.err
    pixels = [np.asarray(Image.open(out / name)) for name in ("circle.png", "alone.png")]
    assert np.array_equal(*pixels)
    again = glmimg("batch", jobs, "-o", out, *common)
    assert (again.status, again.out) == (0, "")
    assert "2 done already" in again.err


def test_failed_jobs_are_named_with_the_command_that_retries_them(
    glmimg: Callable[..., object], tiny: Path, tmp_path: Path
) -> None:
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a red circle\n" + "too long " * 2200 + "\n")
    outcome = glmimg("batch", jobs, "-o", tmp_path / "out", "-m", tiny, "-s", "64x64", "--steps", "1")
    assert outcome.status == 1
    assert "1 job failed (too-long-too-long-" in outcome.err
    assert f"glmimg batch {jobs} -o {tmp_path / 'out'} -m {tiny} -s 64x64 --steps 1 --retry-failed" in outcome.err
    assert len(outcome.out.splitlines()) == 1


def test_a_dry_run_says_what_and_makes_nothing(glmimg: Callable[..., object], tiny: Path, jobs: Path) -> None:
    out = jobs.parent / "never"
    outcome = glmimg("batch", jobs, "-o", out, "-m", tiny, "--dry-run")
    assert outcome.status == 0
    assert "2 dumps, 2 pictures" in outcome.out
    assert "guessed from this machine's speed" in outcome.out
    assert "both stages stay loaded" in outcome.out
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "out", "status", "words"),
    [
        ("\n", "out", 3, "contains no jobs"),
        ('{"prompt": "x"}\nbad\n{"x": 1}\n', "out", 3, "2 of its lines cannot be used:\n  line 2: is not JSON"),
        ('{"prompt": "x"}\n', "file", 2, "is not a folder"),
        ('{"prompt": "x"}\n', "file/below", 2, "is not a folder"),
        ('{"prompt": "x"}\n', "no-such://place", 2, "no-such"),
        ('{"prompt": "x"}\n', "file://there/out", 2, "names another machine"),
    ],
)
def test_bad_input_ends_before_weights_load(
    glmimg: Callable[..., object], tiny: Path, tmp_path: Path, text: str, out: str, status: int, words: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "jobs.jsonl").write_text(text)
    place = out if "://" in out else tmp_path / out
    outcome = glmimg("batch", tmp_path / "jobs.jsonl", "-o", place, "-m", tiny)
    assert outcome.status == status
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    missing = glmimg("batch", tmp_path / "none.jsonl", "-o", tmp_path / "out", "-m", tiny)
    assert (missing.status, "cannot be read" in missing.err) == (3, True)


def test_addresses_of_lists_and_folders(glmimg: Callable[..., object], tiny: Path, tmp_path: Path) -> None:
    for jobs in ("foo://jobs.txt", "file:///no/such.txt", "memory://none.txt", "file://there/x"):
        refused = glmimg("batch", jobs, "-o", tmp_path / "out", "-m", tiny)
        assert (refused.status, "cannot be read" in refused.err) == (3, True), refused.err
    (tmp_path / "my jobs.txt").write_text("a\n")
    uris = [(tmp_path / "my jobs.txt").as_uri(), "-o", (tmp_path / "my out").as_uri()]
    planned = glmimg("batch", *uris, "-m", tiny, "--dry-run")
    assert planned.status == 0, planned.err
    drawn = glmimg("batch", *uris, "-m", tiny, "-s", "64x64", "--steps", "1")
    assert drawn.status == 0, drawn.err
    assert len([*(tmp_path / "my out").glob("a-*.png")]) == 1
    for out in ("file:///tmp/x.png", "s3://bucket/x.png"):
        refused = glmimg("t2i", "x", "-o", out, "-m", tiny)
        assert (refused.status, "is a URI" in refused.err) == (2, True), refused.err


@pytest.mark.parametrize("name", [".glmimg", "results.jsonl", ".glmimg/a-lock.lock", ".glmimg/a-lock.tried"])
def test_what_a_batch_cannot_use_is_named(glmimg: Callable[..., object], tiny: Path, tmp_path: Path, name: str) -> None:
    """Another's file in the place of its folder, or a folder in the place of its files."""
    (tmp_path / "jobs.jsonl").write_text('{"prompt": "a", "name": "a-lock"}')
    place = tmp_path / "out" / name
    place.parent.mkdir(parents=True)
    place.touch() if name == ".glmimg" else place.mkdir()
    refused = glmimg(
        "batch", tmp_path / "jobs.jsonl", "-o", tmp_path / "out", "-m", tiny, "-s", "64x64", "--steps", "1"
    )
    assert refused.status == (1 if "lock" in name else 2), refused.err
    assert str(place) in refused.err
    assert "bug" not in refused.err


def test_an_edit_in_a_list_is_what_edit_draws(glmimg: Callable[..., object], tiny: Path, tmp_path: Path) -> None:
    source, common = tmp_path / "source.png", ("-m", tiny, "-s", "64x64", "--steps", "1")
    Image.new("RGB", (96, 64), "red").save(source)
    (tmp_path / "jobs.jsonl").write_text(
        json.dumps({"prompt": "make it blue", "name": "edit", "seed": 6, "sources": [str(source)]})
        + '\n{"prompt": "x", "sources": ["gone.png"]}\n'
    )
    out = tmp_path / "out"
    drawn = glmimg("batch", tmp_path / "jobs.jsonl", "-o", out, *common, "--skip-bad")
    assert drawn.status == 0, drawn.err
    assert "skipped line 2: gone.png" in drawn.err
    alone = glmimg("edit", "make it blue", "-i", source, "--seed", "6", "-o", out / "alone.png", *common)
    assert alone.status == 0, alone.err
    pixels = [np.asarray(Image.open(out / name)) for name in ("edit.png", "alone.png")]
    assert np.array_equal(*pixels)


def test_pictures_of_another_format(glmimg: Callable[..., object], tiny: Path, tmp_path: Path) -> None:
    """Written with what made them, known as the batch's own, mended when damaged, and beside those of before."""
    Image.new("RGB", (100, 70), "red").save(tmp_path / "source.png")
    (tmp_path / "jobs.csv").write_text("prompt,sources,name\nx,source.png,edit\ny,,plain\n")
    out = tmp_path / "out"
    line = ("batch", tmp_path / "jobs.csv", "-o", out, "-m", tiny, "-s", "64x64", "--steps", "1")
    first = glmimg(*line, "--image-format", "webp", "--image-quality", "80")
    assert first.status == 0, first.err
    assert f"{tmp_path / 'source.png'}: scaled from 100x70 to 96x64" in first.err
    assert read_provenance(out / "edit.webp").job.scene.prompt == "x"
    assert Image.open(out / "plain.webp").format == "WEBP"
    assert "2 done already" in glmimg(*line, "--image-format", "webp", "--image-quality", "80").err
    damaged = bytearray((out / "plain.webp").read_bytes())
    damaged[-9] ^= 255
    (out / "plain.webp").write_bytes(damaged)
    assert "1 done already" in glmimg(*line, "--image-format", "webp").err
    assert (out / "plain.webp").read_bytes() != damaged
    assert "2 already have a dump" in glmimg(*line, "--image-format", "jpg").err
    assert sorted(path.name for path in out.glob("plain.*")) == ["plain.jpg", "plain.tokens.json", "plain.webp"]


def test_a_list_of_edits_goes_on_from_any_folder(
    glmimg: Callable[..., object], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures are found from its own folder, by another path each time."""
    lists, out = tmp_path / "lists", tmp_path / "out"
    lists.mkdir()
    Image.new("RGB", (64, 64), "red").save(lists / "source.png")
    (lists / "jobs.csv").write_text("prompt,sources\nx,source.png\n")
    common = ("-o", out, "-m", tiny, "-s", "64x64", "--steps", "1")
    for folder, jobs in ((tmp_path, "lists/jobs.csv"), (lists, "jobs.csv"), (tmp_path, lists / "jobs.csv")):
        monkeypatch.chdir(folder)
        drawn = glmimg("batch", jobs, *common)
        assert drawn.status == 0, drawn.err
        assert len([*out.glob("*.png")]) == 1
    lines = (out / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"]["picture"] is None for line in lines] == [False, True, True], "drawn once"


def test_a_coprocess_answers_each_prompt_at_once(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "glmimg", "t2i", "--prompts", "-", "-m", str(tiny), "-s", "64x64"]
    command += ["--steps", "1", "--seed", "1", "-o", "p.png"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        answers = []
        for prompt in ("a red circle", "a <|image|>", "last"):
            process.stdin.write(prompt + "\n")
            process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(30) == 1
    assert [answer.get("picture") for answer in answers] == ["p-1.png", None, "p-3.png"]
    assert "a special token" in answers[1]["error"]
    assert (tmp_path / "p-3.tokens.json").exists()


def test_weights_are_placed_as_for_t2i_and_changes_are_recorded(
    glmimg: Callable[..., object], tiny: Path, jobs: Path
) -> None:
    common = ("-m", tiny, "-s", "64x64", "--steps", "1", "--dtype", "bf16", "--device", "cpu", "--memory", "stream")
    out = jobs.parent / "out"
    drawn = glmimg("batch", jobs, "-o", out, *common)
    assert drawn.status == 0, drawn.err
    alone = glmimg("t2i", "a red circle", "--seed", "4", "-o", jobs.parent / "alone.png", *common)
    assert alone.status == 0, alone.err
    making = read_provenance(out / "circle.png")
    assert making.dtype == "bfloat16"
    assert np.array_equal(*(np.asarray(Image.open(path)) for path in (out / "circle.png", jobs.parent / "alone.png")))


def test_adapted_weights_are_others_than_plain_ones(glmimg: Callable[..., object], tiny: Path, jobs: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed: no adapter was put on")
    common = ("-m", tiny, "-s", "64x64", "--steps", "1")
    adapter, out = write_lora(jobs.parent / "style", DIT_TARGET, 32, 32), jobs.parent / "out"
    drawn = glmimg("batch", jobs, "-o", out, *common, "--lora", adapter)
    assert drawn.status == 0, drawn.err
    record = json.loads((out / "results.jsonl").read_text().splitlines()[0])
    assert record["changes"] == [f"lora {adapter}"] == read_provenance(out / record["picture"]).changes
    plain = glmimg("batch", jobs, "-o", out, *common)
    assert plain.status == 2
    assert "was written with other weights" in plain.err


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--memory", "all"], 2, "--memory all: no such value"),
        (["--quantize", "int3"], 2, "int3"),
        (["--device", "tpu"], 2, "--device tpu: no such device"),
    ],
)
def test_settings_that_cannot_be_are_refused_first(
    glmimg: Callable[..., object], tiny: Path, jobs: Path, flags: list[str], status: int, words: str
) -> None:
    outcome = glmimg("batch", jobs, "-o", jobs.parent / "never", "-m", tiny, *flags)
    assert (outcome.status, words in outcome.err) == (status, True), outcome.err
    assert not (jobs.parent / "never").exists()


def test_streaming_and_an_adapter_are_refused_together(glmimg: Callable[..., object], tiny: Path, jobs: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed: adapters are refused before this is seen")
    adapter = write_lora(jobs.parent / "style", DIT_TARGET, 32, 32)
    outcome = glmimg("batch", jobs, "-o", jobs.parent / "never", "-m", tiny, "--memory", "stream", "--lora", adapter)
    assert (outcome.status, "cannot be combined" in outcome.err) == (2, True), outcome.err
