"""A user's mistakes: the exit status of the design, one message, no traceback, nothing left behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glmimg.cli.prompts import read_prompts
from glmimg.tokens.dump_file import write_dump
from tests.conftest import Outcome, run_program
from tests.dumps import dump

Glmimg = Callable[..., Outcome]


def assert_refused(outcome: Outcome, status: int, *words: str) -> None:
    assert outcome.status == status, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert outcome.err.count("error:") <= 1
    for word in words:
        assert word in outcome.err, outcome.err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["t2i"], 2, ["no prompt"]),
        (["t2i", "x", "-m", "demo", "--device", "cpu:7"], 2, ["--device cpu:7 is not on this machine"]),
        (["t2i", "x", "-m", "demo", "--device", "cpu,cpu:7"], 2, ["--device cpu:7 is not on this machine"]),
        (["t2i", "x", "-m", "demo", "--device", "cpu,gpu"], 2, ["--device gpu: no such device"]),
        (["t2i", ""], 2, ["empty"]),
        (["t2i", "   "], 2, ["empty"]),
        (["t2i", "x", "-s", "1000x1000"], 2, ["multiples of 32", "--size 992x992"]),
        (["t2i", "x", "-s", "0x0"], 2, ["positive"]),
        (["t2i", "x", "-s", "6.4"], 2, ["WIDTHxHEIGHT"]),
        (["t2i", "x", "-s", "320000x320000"], 2, ["larger than"]),
        (["t2i", "x", "--steps", "0"], 2, ["steps"]),
        (["t2i", "x", "--steps", "10000"], 2, ["steps"]),
        (["t2i", "x", "--guidance", "nan"], 2, ["guidance"]),
        (["t2i", "x", "--seed", "-2"], 2, ["seed"]),
        (["t2i", "x", "--seed", "99999999999999999999"], 2, ["seed"]),
        (["t2i", "x", "-n", "0"], 2, ["count"]),
        (["t2i", "x", "--nonsense"], 2, ["nonsense"]),
        (["t2i", "x", "-p", "psoter"], 3, ["psoter", "poster"]),
        (["t2i", "x", "--device", "toaster", "-m", "demo"], 2, ["toaster"]),
        (["t2i", "x", "--dtype", "int3", "-m", "demo"], 2, ["int3"]),
        (["t2i", "x", "-m", "./no/such/dir"], 4, ["no such directory"]),
        (["t2i", "x", "-m", "some body/x"], 2, ["hub id"]),
        (["t2i", "--prompts", "no-such-file"], 3, ["no-such-file"]),
        (["t2i", "--prompts", "/"], 3, ["is a folder, not a list of prompts"]),
        (["t2i", "--prompts", "/dev/zero"], 3, ["is a pipe or a device"]),
        (["batch", "/dev/zero", "-m", "demo", "-o", "out"], 3, ["is a pipe or a device"]),
        (["decode", "/dev/zero"], 3, ["is a pipe or a device"]),
        (["t2i", "x", "-m", "demo", "-p", "/dev/zero"], 3, ["is a pipe or a device"]),
        (["replay", "no-such.png"], 3, ["no-such.png"]),
        (["decode", "no-such.tokens.json"], 3, ["no-such.tokens.json"]),
        (["inspect", "no-such.tokens.json"], 3, ["no-such.tokens.json"]),
        (["presets", "nothing"], 3, ["nothing"]),
        (["models", "check", "/"], 4, ["model_index.json"]),
        (["models", "pull", "demo"], 2, ["ships with"]),
        (["models", "pull", "not a hub id"], 2, ["hub id"]),
        (["nonsense"], 2, ["nonsense"]),
        (["inspct"], 2, ["inspect"]),
        (["t2i", "x", "-m", "demo", "-o", ""], 2, ["empty"]),
        (["t2i", "x", "-m", "demo", "--tokens-out", ""], 2, ["empty"]),
        (["tokens", "x", "-m", "demo", "-o", ""], 2, ["empty"]),
        (["batch", "pyproject.toml", "-m", "demo", "-o", ""], 2, ["empty"]),
        (["t2i", "x", "-m", "demo", "-o", "a" * 300 + ".png"], 2, ["too long"]),
        (["t2i", "x", "-m", "demo", "-n", "2", "-o", "{seed:999999999}.png"], 2, ["not a plain field"]),
        (["inspect", "x.tokens.json", "--picture", "-"], 2, ["grid.png"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_refused_before_anything_loads(glmimg: Glmimg, arguments: list[str], status: int, words: list[str]) -> None:
    assert_refused(glmimg(*arguments), status, *words)


def test_outputs(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"precious")
    draw = ["t2i", "x", "-m", tiny]
    assert_refused(glmimg(*draw, "-o", there), 2, "exists already", "--force")
    assert_refused(glmimg(*draw, "-o", there / "x.png"), 2, "is not a folder")
    assert_refused(glmimg(*draw, "-o", tmp_path / "{what}.png"), 2, "{what}")
    assert_refused(glmimg(*draw, "-n", "2", "-o", "-"), 2, "single picture")
    assert_refused(glmimg(*draw, "--json", "-o", "-"), 2, "--json")
    assert there.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [there]


def test_a_dump_beside_the_picture_is_not_overwritten_either(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tokens.json").write_text("precious")
    assert_refused(glmimg("t2i", "x", "-m", tiny, "-o", tmp_path / "x.png"), 2, "exists already")
    assert (tmp_path / "x.tokens.json").read_text() == "precious"


def test_a_full_disk(glmimg: Glmimg, tiny: Path) -> None:
    assert_refused(glmimg("tokens", "x", "-m", tiny, "-o", "/dev/full"), 1, "No space left")
    assert_refused(glmimg("t2i", "x", "-m", tiny, "-o", "/dev/full", "--steps", "1"), 1, "No space left")
    assert not Path("/dev/full.tokens.json").exists()


def test_a_full_disk_says_which_dumps_are_left_to_paint(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    dump = tmp_path / "x.tokens.json"
    refused = glmimg("t2i", "x", "-m", tiny, "-o", "/dev/full", "--tokens-out", dump, "--steps", "1")
    assert_refused(refused, 1, f"glmimg decode {dump}")
    assert dump.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["no prompts"]),
        (b"\n  \n", ["no prompts"]),
        (b"good\n\xff\xfe\n", ["line 2", "UTF-8"]),
        (b"good\r\rgood\r\n\xff", ["line 4", "UTF-8"]),
        ("ein Kreis\n".encode("utf-16"), ["UTF-16", "Save it as UTF-8"]),
        ("ein Kreis\n".encode("utf-16-le"), ["UTF-16"]),
        (b"good\n\nbad\0\ngood\n", ["line 3", "NUL"]),
        (b"good\n" + b"x" * 20_001, ["line 2", "20001 characters"]),
    ],
)
def test_prompt_files(glmimg: Glmimg, tmp_path: Path, text: bytes, words: list[str]) -> None:
    (tmp_path / "prompts.txt").write_bytes(text)
    assert_refused(glmimg("t2i", "--prompts", tmp_path / "prompts.txt", "-m", "demo", "-n", "2"), 3, *words)


def test_a_marker_in_a_list_is_refused_before_anything_is_drawn(glmimg: Glmimg, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red circle\na <|image|>\n")
    refused = glmimg("t2i", "--prompts", tmp_path / "prompts.txt", "-m", "demo", "-n", "2", "-o", tmp_path / "out/")
    assert_refused(refused, 2, "the prompt 'a <|image|>' contains <|image|>")
    refused = glmimg("batch", tmp_path / "prompts.txt", "-m", "demo", "-o", tmp_path / "out")
    assert_refused(refused, 3, "line 2: the prompt 'a <|image|>' contains <|image|>")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("jobs.csv", "a,b\n", ["list of jobs", "glmimg batch"]),
        ("jobs", "prompt\tseed\nx\t1\n", ["list of jobs"]),
        ("jobs.jsonl", '{"prompt": "x"}\n', ["list of jobs"]),
        ("jobs", '\n{"prompt": "x"}\n', ["list of jobs"]),
        ("jobs.txt", '{"prompt": "x"}\n', ["line 1 is a JSON object"]),
        ("jobs.txt", '[\n{"prompt": "x"}]\n', ["line 1 starts a JSON array"]),
    ],
)
def test_lists_of_jobs_are_no_prompts(glmimg: Glmimg, tmp_path: Path, name: str, text: str, words: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert_refused(glmimg("t2i", "--prompts", tmp_path / name, "-m", "demo", "-o", tmp_path / "out/"), 3, *words)
    (tmp_path / "prompts").write_text('{"subject": "a cat"}\n[a cat]\n')
    assert read_prompts([], str(tmp_path / "prompts")) == ['{"subject": "a cat"}', "[a cat]"], "prompts in JSON"


def test_prompts_end_where_lines_end(tmp_path: Path) -> None:
    """Not at U+2028 or a form feed; and a `#` begins no comment."""
    path = tmp_path / "prompts.txt"
    path.write_bytes("a\u2028b\n# c\r\nd\x0ce\rf\u0085g".encode("utf-8-sig"))
    assert read_prompts([], str(path)) == ["a\u2028b", "# c", "d\x0ce", "f\u0085g"]


@pytest.mark.parametrize("more", [["--seed", str(1 << 63)], ["--seed", str((1 << 63) - 1), "-n", "2"]])
def test_seeds_that_torch_does_not_take(glmimg: Glmimg, tmp_path: Path, more: list[str]) -> None:
    for command in ("t2i", "tokens"):
        refused = glmimg(command, "x", "-m", "demo", "-o", tmp_path / "x.png", *more)
        assert_refused(refused, 2, "seed", str((1 << 63) - 1))
    assert not list(tmp_path.iterdir())


def test_a_missing_model_is_said_at_once_and_offline(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run_program("t2i", "x", env={"HF_HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1"})
    assert time.monotonic() - started < 20, "5 s on an idle machine"
    assert done.returncode == 4
    assert done.stdout == ""
    for words in ("zai-org/GLM-Image", "35.8 GB", "glmimg models pull zai-org/GLM-Image", "--model demo"):
        assert words in done.stderr


def broken(tiny: Path, folder: Path) -> Path:
    shutil.copytree(tiny, folder)
    return folder


def lose_weights(folder: Path) -> None:
    (folder / "vision_language_encoder" / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    file = folder / "vision_language_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def empty_weights(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"")


def spoil_header(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[8:40] = b"\xff" * 32
    file.write_bytes(raw)


def lose_shard(folder: Path) -> None:
    part = folder / "transformer"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def pickle_weights(folder: Path) -> None:
    part = folder / "text_encoder"
    (part / "model.safetensors").rename(part / "pytorch_model.bin")


def wrong_class(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "FluxTransformer2DModel"]
    (folder / "model_index.json").write_text(json.dumps(index))


def wrong_config(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("{not json")


def other_codebook(folder: Path) -> None:
    file = folder / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prior_vq_quantizer_codebook_size": 63}))


def other_width(folder: Path) -> None:
    file = folder / "vision_language_encoder" / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["hidden_size"] = 64
    file.write_text(json.dumps(config))


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (lose_weights, "no weights"),
    (cut_weights, "damaged"),
    (empty_weights, "damaged"),
    (spoil_header, "damaged"),
    (lose_shard, "00001-of-00002.safetensors is missing"),
    (pickle_weights, "safetensors only"),
    (wrong_class, "FluxTransformer2DModel"),
    (wrong_config, "vae/config.json is not JSON"),
    (other_codebook, "do not match"),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_unfit_checkpoints(
    glmimg: Glmimg, tiny: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = broken(tiny, tmp_path / "model")
    spoil(folder)
    out = tmp_path / "x.png"
    assert_refused(glmimg("t2i", "x", "-m", folder, "-o", out), 4, words)
    assert_refused(glmimg("models", "check", folder), 4, words)
    assert not out.exists()


def test_weights_that_do_not_fit_their_config(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    folder = broken(tiny, tmp_path / "model")
    other_width(folder)
    assert_refused(glmimg("tokens", "x", "-m", folder, "-o", tmp_path / "x.json"), 4, "vision_language_encoder")
    assert not (tmp_path / "x.json").exists()


def test_lacking_weights_are_never_replaced_by_random_ones(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = broken(tiny, tmp_path / "model")
    file = folder / "vision_language_encoder" / "model.safetensors"
    weights = load_file(file)
    del weights["lm_head.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    assert_refused(glmimg("tokens", "x", "-m", folder, "-o", tmp_path / "x.json"), 4, "lm_head")


def test_a_dump_of_another_model(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    from tests.tiny import Sizes, build_checkpoint

    dump = tmp_path / "x.tokens.json"
    assert glmimg("tokens", "x", "-m", tiny, "-o", dump, "-q").status == 0
    small = build_checkpoint(tmp_path / "small", Sizes(codebook=32, vision_vocab=48))
    assert_refused(glmimg("decode", dump, "-m", small), 3, "codebook of 64")
    twin = build_checkpoint(tmp_path / "twin", Sizes(seed=1))
    assert_refused(glmimg("decode", dump, "-m", twin), 3, "decoder weights differ", "--any-model")
    assert glmimg("decode", dump, "-m", twin, "--any-model", "--steps", "1", "-q").status == 0
    raw = dump.read_text()
    dump.write_text(raw[:-60])
    assert_refused(glmimg("decode", dump, "-m", tiny, "-f"), 3, "not complete JSON")


def test_markers_of_the_model_in_a_prompt(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    outcome = glmimg("tokens", "a <|image|> b", "-m", tiny, "-o", tmp_path / "x.json", "-q")
    assert_refused(outcome, 2, "<|image|>")


def run_in_shell(line: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """A line of shell in which $G is the program, its output buffered as a user's is."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f"{shlex.quote(sys.executable)} -m glmimg"
    return subprocess.run(["bash", "-c", line.replace("$G", command)], capture_output=True, env=plain | settings)


@pytest.mark.parametrize("arguments", ["presets", "presets fast", "--help", "--version", "inspect --schema"])
def test_a_full_disk_behind_standard_output(arguments: str) -> None:
    done = run_in_shell(f"$G {arguments} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: cannot write standard output: No space left on device\n")
    assert b"bug" not in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["presets", "--help", "--version", "inspect --schema"])
def test_closed_streams_are_like_dev_null(arguments: str) -> None:
    done = run_in_shell(f"$G {arguments} >&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_closed_standard_input_holds_no_prompts() -> None:
    done = run_in_shell("$G t2i - -m demo <&-")
    assert done.returncode == 3
    assert b"contains no prompts" in done.stderr


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    path = tmp_path / "x.tokens.json"
    write_dump(dump([[1, 2], [3, 4]]).model_copy(update={"prompt": "größe 🌲"}), path)
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = run_in_shell(f"$G inspect {path}", **ascii_only)
    assert shown.returncode == 0, shown.stderr
    assert b"+  ids " in shown.stdout
    record = run_in_shell(f"$G inspect {path} --json", **ascii_only)
    assert json.loads(record.stdout.decode("ascii"))["prompt"] == "größe 🌲"


def test_a_name_that_is_no_utf8_can_be_printed(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/r\xe9.tokens.json"
    write_dump(dump([[1, 2], [3, 4]]), Path(os.fsdecode(path)))
    line = b"%s -m glmimg inspect --table %s" % (os.fsencode(shlex.quote(sys.executable)), path)
    done = subprocess.run([b"bash", b"-c", line], capture_output=True)
    assert done.returncode == 0, done.stderr
