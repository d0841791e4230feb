"""`models check` finds what drawing would meet, and both refuse it with exit 4 before anything is drawn."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_bad_input import assert_refused
from tests.conftest import Outcome

Glmimg = Callable[..., Outcome]
AR, DIT = "vision_language_encoder", "transformer"
DIT_WEIGHTS = f"{DIT}/diffusion_pytorch_model.safetensors"
WORDS = "model.language_model.embed_tokens.weight"
GENERATION = f"{AR}/generation_config.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


def set_value(name: str, *way: str, to: object) -> Callable[[Path], None]:
    """Write another value into a configuration."""

    def change(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        inner = document
        for key in way[:-1]:
            inner = inner[key]
        inner[way[-1]] = to
        (folder / name).write_text(json.dumps(document))

    return change


def set_header(change: Callable[[dict[str, Any]], object], length: int | None = None) -> Callable[[Path], None]:
    """Write another header over the DiT's weights; the data stay as they are."""

    def rewrite(folder: Path) -> None:
        raw = (folder / DIT_WEIGHTS).read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + size])
        change(next(entry for name, entry in header.items() if name != "__metadata__"))
        text = json.dumps(header).encode()
        stated = struct.pack("<Q", len(text) if length is None else length)
        (folder / DIT_WEIGHTS).write_bytes(stated + text + raw[8 + size :])

    return rewrite


def deepen(folder: Path) -> None:
    """Give the table of words a third side, of 1."""
    from safetensors.numpy import load_file, save_file

    file = folder / AR / "model.safetensors"
    weights = load_file(file)
    weights[WORDS] = weights[WORDS][..., None]
    save_file(weights, file, metadata={"format": "pt"})


def set_offsets(offsets: list[int]) -> Callable[[Path], None]:
    return set_header(lambda entry: entry.update(data_offsets=offsets))


def replace(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None  # type: ignore[func-returns-value]


def index_of(target: str) -> Callable[[Path], None]:
    return replace(f"{DIT_WEIGHTS}.index.json", json.dumps({"weight_map": {"a": target}}).encode())


def fifo(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


LOOP = b"{% for each in range(99999) %}" * 3 + b"{% endfor %}" * 3
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "offsets of nothing": (set_offsets([0, 0]), "damaged"),
    "negative offsets": (set_offsets([-4, 0]), "damaged"),
    "odd offsets": (set_offsets([1, 4097]), "damaged"),
    "overlapping offsets": (set_offsets([64, 4160]), "damaged"),
    "another shape": (set_header(lambda entry: entry.update(shape=[1])), "damaged"),
    "another dtype": (set_header(lambda entry: entry.update(dtype="F64")), "damaged"),
    "a header of 30 GB": (set_header(lambda entry: None, 30 << 30), "damaged"),
    "heads 0": (set_value(f"{AR}/config.json", "text_config", "num_attention_heads", to=0), "num_attention_heads"),
    "1e9 layers": (set_value(f"{DIT}/config.json", "num_layers", to=10**9), "num_layers"),
    "a word for a number": (set_value("vae/config.json", "latent_channels", to="four"), "latent_channels"),
    "temperature -1": (set_value(GENERATION, "temperature", to=-1), "temperature"),
    "a penalty": (
        set_value(GENERATION, "repetition_penalty", to=1.2),
        "repetition_penalty is 1.2, and glmimg does not",
    ),
    "beams": (set_value(GENERATION, "num_beams", to=4), "num_beams is 4"),
    "bad words": (set_value(GENERATION, "bad_words_ids", to=[[1]]), "bad_words_ids"),
    "n-grams": (set_value(GENERATION, "no_repeat_ngram_size", to=3), "no_repeat_ngram_size"),
    "typical": (set_value(GENERATION, "typical_p", to=0.5), "typical_p"),
    "an absolute path": (index_of("/etc/passwd"), "names a file elsewhere: /etc/passwd"),
    "a path upwards": (index_of("../x.safetensors"), "names a file elsewhere"),
    "a fifo as a shard": (fifo(DIT_WEIGHTS), "is not a file"),
    "a fifo as a configuration": (fifo(f"{DIT}/config.json"), "is not a file"),
    "a pointer for weights": (replace(DIT_WEIGHTS, POINTER), "Git LFS pointer"),
    "a pointer for a tokenizer": (replace("processor/tokenizer.json", POINTER), "git lfs pull"),
    "no tokenizer": (remove("processor/tokenizer.json"), "processor cannot be loaded"),
    "no chat template": (remove("processor/chat_template.jinja"), "no chat template"),
    "a broken chat template": (replace("processor/chat_template.jinja", b"{% for"), "processor cannot be loaded"),
    "a looping chat template": (replace("processor/chat_template.jinja", LOOP), "does not end"),
    "no marker": (
        set_value("processor/tokenizer_config.json", "image_token", to="<|no|>"),
        "different ids for a picture",
    ),
    "words of three sides": (deepen, "is of shape [341, 32, 1]"),
    "a marker more": (set_value("processor/tokenizer_config.json", "grid_eos_token", to="<|no|>"), "AR half does not"),
    "an end more": (set_value("tokenizer/tokenizer_config.json", "eos_token", to="<no>"), "glyph encoder does not"),
}


@pytest.mark.parametrize(("spoil", "words"), FAULTS.values(), ids=FAULTS)
def test_what_drawing_would_meet_is_found(
    glmimg: Glmimg, tiny: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    spoil(folder)
    out = tmp_path / "x.png"
    assert_refused(glmimg("models", "check", folder), 4, words)
    assert_refused(glmimg("t2i", "x", "-m", folder, "-o", out, "-s", "64x64", "--steps", "1"), 4, words)
    assert not out.exists()


def test_a_template_that_does_not_end_is_over_when_it_is_refused(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    replace("processor/chat_template.jinja", LOOP)(folder)
    assert_refused(glmimg("models", "check", folder), 4, "does not end")
    computed = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - computed < 0.25


def test_a_suppressed_token_that_is_none_changes_nothing(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    """As in transformers."""
    folder = shutil.copytree(tiny, tmp_path / "model")
    suppressed = json.loads((tiny / GENERATION).read_text())["suppress_tokens"]
    set_value(GENERATION, "suppress_tokens", to=[*suppressed, 133])(folder)
    assert glmimg("models", "check", folder).status == 0
    assert glmimg("t2i", "x", "-m", folder, "-o", tmp_path / "x.png", "-s", "64x64", "--steps", "1").status == 0


def test_a_missing_library_is_not_fetched_again(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    set_value(f"{DIT}/config.json", "quantization_config", to={"quant_method": "hqq"})(folder)
    outcome = glmimg("models", "check", folder)
    assert_refused(outcome, 4, "needs hqq", "pip install hqq")
    assert "etch" not in outcome.err


def test_check_of_a_whole_one(glmimg: Glmimg, tiny: Path) -> None:
    assert "a usable GLM-Image" in glmimg("models", "check", tiny).out


@pytest.mark.parametrize("kilobytes", [400_000, 900_000])
def test_running_out_of_memory_is_no_fault_of_the_model(tmp_path: Path, kilobytes: int) -> None:
    """While libraries load, and while weights do."""
    drawing = f"t2i x -m demo -s 256x256 --steps 1 -o {tmp_path / 'x.png'}"
    line = f"ulimit -v {kilobytes}; exec {sys.executable} -m glmimg {drawing}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "memory" in done.stderr
    assert "bug" not in done.stderr


def test_a_relative_model_is_known_from_any_folder(
    glmimg: Glmimg, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert glmimg("tokens", "x", "-m", "./model", "-s", "64x64", "-o", tmp_path / "x.tokens.json").status == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    decoded = glmimg("decode", tmp_path / "x.tokens.json", "--steps", "1")
    assert decoded.status == 0, decoded.err
