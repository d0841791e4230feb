"""Compressed weights draw: those compressed while loading, and checkpoints that come compressed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.engine.orders import Order, Painted
from glmimg.errors import ModelUnfit, UsageError
from glmimg.image_io import read_provenance
from glmimg.runtime import configuration
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.estimate import Request, ar_need
from glmimg.runtime.sizes import ar_sizes, dit_sizes
from tests.conftest import Outcome
from tests.jobs import make_desk, make_job, make_sampling
from tests.tiny import Sizes, build_checkpoint

AR, DIT = "vision_language_encoder", "transformer"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose layers are wide enough for groups of 32 and for many bits to matter."""
    sizes = Sizes(hidden=64, ffn=128, dit_heads=4, dit_head_dim=16)
    return build_checkpoint(tmp_path_factory.mktemp("small"), sizes)


def draw(folder: Path, quantize: str = "none", memory: str = "auto") -> Painted:
    job = make_job(
        prompt="a tree", height=64, width=64, seed=4, dit_seed=4, steps=2, guidance=1.5,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )  # fmt: skip
    choice = ModelChoice(device="cpu", quantize=quantize, memory=memory)
    return next(make_desk(Checkpoint("small", folder), choice).draw([Order(job)]))


def pixels(painted: Painted) -> np.ndarray:
    return np.asarray(painted.picture.image).astype(float)


def needs(module: str) -> None:
    pytest.importorskip(module, reason=f"{module} is not installed: nothing was compressed")


@pytest.mark.parametrize(("way", "library"), [("int8", "torchao"), ("int4", "torchao"), ("nf4", "bitsandbytes")])
def test_each_way_draws_near_the_exact_picture_and_is_recorded(small: Path, way: str, library: str) -> None:
    needs(library)
    exact, close = draw(small), draw(small, f"dit={way}")
    assert close.order.dump.target == exact.order.dump.target
    assert 0 < np.abs(pixels(close) - pixels(exact)).mean() < 16
    assert close.picture.provenance.changes == [f"quantize dit={way}"]
    assert close.order.dump.model.changes == [f"quantize dit={way}"]


def test_a_replay_compresses_as_the_picture_says(small: Path, tmp_path: Path, glmimg: Callable[..., Outcome]) -> None:
    needs("torchao")
    out, again = tmp_path / "x.png", tmp_path / "again.png"
    drawn = glmimg("t2i", "a tree", "-m", small, "-s", "64x64", "--steps", "1", "--quantize", "dit=int8", "-o", out)
    assert drawn.status == 0, drawn.err
    assert glmimg("replay", out, "-o", again).status == 0
    assert read_provenance(again).changes == ["quantize dit=int8"]
    assert out.read_bytes() == again.read_bytes()
    plain = glmimg("replay", out, "--quantize", "none", "-o", again, "--force")
    assert "was made with quantize dit=int8; the new picture is made without" in plain.err


def test_both_halves_in_int4(small: Path) -> None:
    needs("torchao")
    assert draw(small, "int4").picture.image.size == (64, 64)


def compress_part(checkpoint: Path, folder: Path, part: str, compress: Callable[[Path], Any]) -> Path:
    """A copy of a checkpoint with one part saved compressed by its own library."""
    shutil.copytree(checkpoint, folder)
    model = compress(folder / part)
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(folder / part)
    return folder


def ar_in_nf4(folder: Path) -> Any:
    needs("bitsandbytes")
    from transformers import BitsAndBytesConfig, GlmImageForConditionalGeneration

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    options = {"quantization_config": config, "dtype": torch.float32, "device_map": "cpu"}
    return GlmImageForConditionalGeneration.from_pretrained(folder, **options)


def ar_in_int8(folder: Path) -> Any:
    needs("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import GlmImageForConditionalGeneration, TorchAoConfig

    options = {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig()), "dtype": torch.float32}
    return GlmImageForConditionalGeneration.from_pretrained(folder, **options, device_map="cpu")


def dit_in_int8(folder: Path) -> Any:
    needs("torchao")
    from diffusers import GlmImageTransformer2DModel, TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    config = TorchAoConfig(Int8WeightOnlyConfig())
    return GlmImageTransformer2DModel.from_pretrained(folder, quantization_config=config, dtype=torch.float32)


def ar_in_sdnq(folder: Path) -> Any:
    from transformers import GlmImageForConditionalGeneration

    return in_sdnq(GlmImageForConditionalGeneration, folder)


def dit_in_sdnq(folder: Path) -> Any:
    from diffusers import GlmImageTransformer2DModel

    return in_sdnq(GlmImageTransformer2DModel, folder)


def in_sdnq(part_class: Any, folder: Path) -> Any:
    needs("sdnq")
    os.environ.setdefault("SDNQ_USE_TORCH_COMPILE", "0")  # compiling its products takes minutes
    from sdnq import SDNQConfig

    config = SDNQConfig(weights_dtype="uint4", group_size=32)
    return part_class.from_pretrained(folder, quantization_config=config, dtype=torch.float32)


@pytest.mark.parametrize(
    ("part", "compress"),
    [(AR, ar_in_nf4), (AR, ar_in_int8), (DIT, dit_in_int8), (AR, ar_in_sdnq), (DIT, dit_in_sdnq)],
    ids=["ar-nf4", "ar-int8", "dit-int8", "ar-sdnq", "dit-sdnq"],
)
def test_a_checkpoint_that_comes_compressed_draws(
    small: Path, tmp_path: Path, part: str, compress: Callable[[Path], Any]
) -> None:
    folder = compress_part(small, tmp_path / "compressed", part, compress)
    checkpoint = Checkpoint("compressed", folder)
    assert list(checkpoint.problems()) == []
    stored, plain = checkpoint.stored_bytes(part), sum(f.stat().st_size for f in (small / part).glob("*.safetensors"))
    assert stored is not None
    assert stored < 0.9 * plain
    exact, close = draw(small), draw(folder)
    if part == DIT:
        assert close.order.dump.target == exact.order.dump.target
        assert 0 < np.abs(pixels(close) - pixels(exact)).mean() < 16
    half = "ar" if part == AR else "dit"
    with pytest.raises(UsageError, match="is quantized with"):
        draw(folder, f"{half}=int8")
    with pytest.raises(UsageError, match="cannot be streamed"):
        draw(folder, memory="stream")


@pytest.mark.parametrize(("part", "compress"), [(AR, ar_in_sdnq), (DIT, dit_in_sdnq)], ids=["ar", "dit"])
def test_a_new_process_knows_the_library_that_compressed_a_part(
    small: Path, tmp_path: Path, part: str, compress: Callable[[Path], Any]
) -> None:
    """SDNQ makes itself known to diffusers and transformers when it is imported."""
    folder = compress_part(small, tmp_path / "compressed", part, compress)
    command = [sys.executable, "-m", "glmimg", "t2i", "a tree", "-s", "64x64", "--steps", "1"]
    drawn = subprocess.run(
        [*command, "-m", str(folder), "-o", str(tmp_path / "x.png")],
        env=os.environ | {"SDNQ_USE_TORCH_COMPILE": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "x.png").exists()


def said_to_be_compressed(checkpoint: Path, folder: Path, part: str, said: dict[str, Any]) -> Path:
    """A copy whose configuration names a compression; the weights are as they were."""
    shutil.copytree(checkpoint, folder)
    config = folder / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": said}))
    return folder


@pytest.mark.parametrize("part", [AR, DIT])
def test_a_missing_reader_is_named_before_weights_load(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(configuration, "find_spec", lambda name: None)
    said = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "packing_format": "auto_round:auto_gptq"}
    folder = said_to_be_compressed(tiny, tmp_path / "named", part, said)
    with pytest.raises(ModelUnfit, match=r"is quantized with auto-round, which needs auto-round \(not") as missing:
        draw(folder)
    assert missing.value.exit_code == 4
    assert missing.value.hint == "Install it: pip install auto-round"


def test_a_reader_of_half_precision_only_refuses_fp32(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto-round would turn the part into fp16 behind our back, and the first product would fail."""
    monkeypatch.setattr(configuration, "find_spec", lambda name: object())
    folder = said_to_be_compressed(tiny, tmp_path / "named", AR, {"quant_method": "auto-round"})
    with pytest.raises(UsageError, match="does not work in fp32"):
        draw(folder)


def test_plans_count_what_the_files_hold(tiny: Path, tmp_path: Path) -> None:
    folder = said_to_be_compressed(tiny, tmp_path / "named", AR, {"load_in_4bit": True})
    checkpoint, request = Checkpoint("named", folder), Request(64, 64, "fp32", on_host=True)
    header = next((folder / AR).glob("*.safetensors"))
    stored = header.stat().st_size - checkpoint.read_header(header)[1]
    assert ar_sizes(checkpoint).stored == stored
    assert ar_need(ar_sizes(checkpoint), request).weights == stored
    assert dit_sizes(checkpoint).stored == {}
