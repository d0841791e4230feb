"""Adapters as diffusers, peft and kohya's scripts write them work as strongly as in the libraries, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from glmimg.errors import BadInput, UsageError
from glmimg.image_io import read_provenance
from glmimg.runtime.adapter import CONFIG, HEADER
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.load import load_module
from glmimg.runtime.lora import check_fits, check_runs, find_loras, put_on
from tests.conftest import Outcome
from tests.stages.test_lora import AR_TARGET, DIT_TARGET, draw, write_lora
from tests.tiny import store_as

pytest.importorskip("peft")

HERE = Placement(torch.device("cpu"), torch.float32)
DIT_LAYERS = ["attn1.to_q", "attn1.to_out.0", "net.2"]
AR_LAYERS = ["q_proj", "down_proj"]


def config_of(targets: list[str], **more: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"r": 4, "lora_alpha": 16, "target_modules": targets, "init_lora_weights": False} | more)


def dit(tiny: Path) -> Any:
    from diffusers import GlmImageTransformer2DModel

    return GlmImageTransformer2DModel.from_pretrained(tiny / "transformer")


def ar(tiny: Path) -> Any:
    from transformers import GlmImageForConditionalGeneration

    return GlmImageForConditionalGeneration.from_pretrained(tiny / "vision_language_encoder", dtype=torch.float32)


def ours(tiny: Path, spec: str) -> Any:
    """The half an adapter changes, with it put on as glmimg does."""
    from diffusers import GlmImageTransformer2DModel
    from transformers import GlmImageForConditionalGeneration

    (lora,) = find_loras([spec])
    checkpoint = Checkpoint("tiny", tiny)
    check_fits(lora, checkpoint)
    part_class, part = (
        (GlmImageTransformer2DModel, "transformer")
        if lora.half == "dit"
        else (GlmImageForConditionalGeneration, "vision_language_encoder")
    )
    module: Any = load_module(part_class, checkpoint, part, HERE)
    put_on(module, [lora], HERE)
    return module


def assert_same(left: Any, right: Any) -> None:
    """Every adapted layer of either gives the other's numbers, and differs from its own base."""
    from peft.tuners.lora import LoraLayer

    adapted = [name for name, each in right.named_modules() if isinstance(each, LoraLayer)]
    assert adapted
    assert adapted == [name for name, each in left.named_modules() if isinstance(each, LoraLayer)]
    for name in adapted:
        mine, theirs = left.get_submodule(name), right.get_submodule(name)
        numbers = torch.randn(3, theirs.in_features, generator=torch.Generator().manual_seed(0))
        assert torch.equal(mine(numbers), theirs(numbers)), name
        assert not torch.equal(theirs(numbers), theirs.base_layer(numbers)), name


def save_by_diffusers(tiny: Path, folder: Path, **config: Any) -> Path:
    """diffusers' saver for this model: no prefix, alpha in the header."""
    model = dit(tiny)
    model.add_adapter(config_of(DIT_LAYERS, **config))
    model.save_lora_adapter(folder)
    return folder / "pytorch_lora_weights.safetensors"


def save_by_pipeline(tiny: Path, folder: Path, *, metadata: bool) -> Path:
    """diffusers' saver for pipelines: names begin with `transformer.`, those of the header too."""
    from diffusers.loaders import CogView4LoraLoaderMixin
    from peft.utils import get_peft_model_state_dict

    model = dit(tiny)
    model.add_adapter(config_of(DIT_LAYERS))
    CogView4LoraLoaderMixin.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict() if metadata else None,
    )
    return folder / "pytorch_lora_weights.safetensors"


def save_by_peft(model: Any, folder: Path, targets: list[str], **config: Any) -> Path:
    from peft import get_peft_model

    get_peft_model(model, config_of(targets, **config)).save_pretrained(folder)
    return folder / "adapter_model.safetensors"


def by_diffusers(tiny: Path, weights: Any, scale: float = 1.0, **options: Any) -> Any:
    model = dit(tiny)
    model.load_lora_adapter(weights, adapter_name="theirs", weight_name="pytorch_lora_weights.safetensors", **options)
    model.set_adapters("theirs", scale)
    return model


def by_peft(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder).base_model.model


def renamed(file: Path, rename: Callable[[str], str], alphas: dict[str, float] | None = None) -> Path:
    """The same weights under other names, without a header, as a file of its own; alphas by the module's new name."""
    weights = {rename(key): tensor for key, tensor in load_file(file).items()}
    other = file.with_name("renamed") / "style.safetensors"
    other.parent.mkdir()
    save_file(weights | {f"{name}.alpha": torch.tensor(alpha) for name, alpha in (alphas or {}).items()}, other)
    return other


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"r": 2, "rank_pattern": {"net.2": 3}}])
@pytest.mark.parametrize("scale", ["", ":0.3"])
def test_diffusers_own_saver(tiny: Path, tmp_path: Path, config: dict[str, Any], scale: str) -> None:
    file = save_by_diffusers(tiny, tmp_path / "style", **config)
    theirs = by_diffusers(tiny, str(file.parent), float(scale[1:] or 1), prefix=None)
    assert_same(ours(tiny, f"{file}{scale}"), theirs)


@pytest.mark.parametrize("metadata", [True, False])
def test_diffusers_pipelines_saver(tiny: Path, tmp_path: Path, metadata: bool) -> None:
    file = save_by_pipeline(tiny, tmp_path / "style", metadata=metadata)
    assert_same(ours(tiny, str(file.parent)), by_diffusers(tiny, str(file.parent)))


@pytest.mark.parametrize(
    "config",
    [{}, {"use_rslora": True}, {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 3}}],
)
def test_peft_for_the_ar_half(tiny: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    file = save_by_peft(ar(tiny), tmp_path / "words", AR_LAYERS, **config)
    assert_same(ours(tiny, str(file)), by_peft(ar(tiny), file.parent))


def test_peft_for_the_dit(tiny: Path, tmp_path: Path) -> None:
    file = save_by_peft(dit(tiny), tmp_path / "style", DIT_LAYERS)
    assert_same(ours(tiny, str(file)), by_peft(dit(tiny), file.parent))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "transformer."])
def test_alpha_tensors_beside_dotted_names(tiny: Path, tmp_path: Path, prefix: str) -> None:
    plain = save_by_diffusers(tiny, tmp_path / "style")
    modules = {key.split(".lora_")[0] for key in load_file(plain)}
    alphas = {f"{prefix}{module}": 2.0 + (module[-1] == "2") for module in modules}
    file = renamed(plain, lambda key: prefix + key, alphas)
    named = {f"transformer.{name.removeprefix(prefix)}.alpha": alpha for name, alpha in alphas.items()}
    weights = {f"transformer.{key}": tensor for key, tensor in load_file(plain).items()}
    assert_same(ours(tiny, str(file)), by_diffusers(tiny, weights, network_alphas=named))


def test_kohyas_names(tiny: Path, tmp_path: Path) -> None:
    plain = save_by_diffusers(tiny, tmp_path / "style")

    def kohya(key: str) -> str:
        module, _, side = key.partition(".lora_")
        return f"lora_unet_{module.replace('.', '_')}.lora_{'down' if side.startswith('A') else 'up'}.weight"

    modules = {kohya(key).partition(".")[0] for key in load_file(plain)}
    file = renamed(plain, kohya, dict.fromkeys(modules, 2.0))
    weights = {f"transformer.{key}": tensor for key, tensor in load_file(plain).items()}
    alphas = {f"{key.split('.lora_')[0]}.alpha": 2.0 for key in weights}
    assert_same(ours(tiny, str(file)), by_diffusers(tiny, weights, network_alphas=alphas))


@pytest.mark.parametrize("old", [("lora_A.weight", "lora.down.weight"), ("lora_A.weight", "lora_A.default.weight")])
def test_older_names(tiny: Path, tmp_path: Path, old: tuple[str, str]) -> None:
    plain = save_by_pipeline(tiny, tmp_path / "style", metadata=False)
    up = old[1].replace("down", "up").replace("_A", "_B")
    file = renamed(plain, lambda key: key.replace(*old).replace("lora_B.weight", up))
    assert_same(ours(tiny, str(file)), by_diffusers(tiny, str(plain.parent)))


def test_an_adapter_in_bf16_on_a_model_in_bf16_files_works_in_fp32(tiny: Path, tmp_path: Path) -> None:
    import shutil

    halved = shutil.copytree(tiny, tmp_path / "halved")
    store_as(halved, "bfloat16")
    words = write_lora(tmp_path / "words", AR_TARGET, 32, 32)
    file = words / "adapter_model.safetensors"
    save_file({key: tensor.bfloat16() for key, tensor in load_file(file).items()}, file)
    assert draw(halved, f"{words}:5").order.dump.target != draw(halved).order.dump.target


def weights_of(target: str) -> dict[str, torch.Tensor]:
    return {f"{target}.lora_A.weight": torch.ones(2, 32), f"{target}.lora_B.weight": torch.ones(32, 2)}


PAIR = weights_of(DIT_TARGET)
OTHER = weights_of("transformer.transformer_blocks.1.attn1.to_q")
REFUSED: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "head": (PAIR | {"lm_head.weight": torch.ones(2)}, "not part of a LoRA: lm_head.weight"),
    "dora": (PAIR | {f"{DIT_TARGET}.dora_scale": torch.ones(32)}, "DoRA, which is not supported: transformer.tr"),
    "lokr": ({"transformer.x.lokr_w1": torch.ones(2, 2)}, "LoKr, which is not supported: transformer.x.lokr_w1"),
    "loha": ({"transformer.x.hada_w1_a": torch.ones(2, 2)}, "LoHa"),
    "none": ({}, "changes nothing"),
    "rank 0": (
        {f"{DIT_TARGET}.lora_A.weight": torch.ones(0, 32), f"{DIT_TARGET}.lora_B.weight": torch.ones(32, 0)},
        "of rank 0",
    ),
    "half": ({f"{DIT_TARGET}.lora_A.weight": torch.ones(2, 32)}, "do not fit each other"),
    "alpha alone": (PAIR | {"transformer.y.alpha": torch.ones(())}, "y do not fit each other"),
    "two": (PAIR | {f"{DIT_TARGET}.lora_A.other.weight": torch.ones(2, 32)}, "several adapters"),
    "both halves": (PAIR | weights_of("transformer.model.language_model.layers.0.x"), "both stages at once"),
    "text encoder": (PAIR | {"text_encoder.x.lora_A.weight": torch.ones(2, 2)}, "text_encoder.x.lora_A.weight"),
    "bias": (PAIR | {f"{DIT_TARGET}.lora_B.bias": torch.ones(32)}, "lora_B.bias"),
}


@pytest.mark.parametrize(("weights", "words"), REFUSED.values(), ids=REFUSED)
def test_a_file_with_a_key_that_is_not_used_is_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], words: str
) -> None:
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match=words) as refused:
        find_loras([str(tmp_path / "x.safetensors")])
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    "config",
    [
        b"", b"[]", b"{", b"[" * 10_000, b"\xff", b"{}", b'{"r": 0, "lora_alpha": 2}', b'{"r": 2, "lora_alpha": NaN}',
        b'{"r": "x", "lora_alpha": 2}', b'{"r": 8, "lora_alpha": 2}', b'{"r": 2, "lora_alpha": 2, "use_dora": true}',
        b'{"r": 2, "lora_alpha": 2, "peft_type": "LOKR"}', b'{"r": 2, "lora_alpha": 2, "modules_to_save": ["lm_head"]}',
        b'{"r": 2, "lora_alpha": 2, "alpha_pattern": {"(a+)+$": 4}}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["beside", "header"])
def test_a_configuration_that_cannot_be_is_refused(tiny: Path, tmp_path: Path, config: bytes, place: str) -> None:
    if place == "beside":
        folder = write_lora(tmp_path / "words", AR_TARGET, 32, 32)
        (folder / CONFIG).write_bytes(config)
        spec = str(folder)
    else:
        save_file(PAIR, tmp_path / "x.safetensors", metadata={HEADER: config.decode("latin-1")})
        spec = str(tmp_path / "x.safetensors")
    with pytest.raises(BadInput):
        ours(tiny, spec)


def test_a_pattern_of_modules_that_never_ends_is_not_run(tiny: Path, tmp_path: Path) -> None:
    """peft would match it against every name; which layers change is what the file's own names say."""
    folder = write_lora(tmp_path / "words", AR_TARGET, 32, 32)
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(values | {"target_modules": "(.*.*.*)*.*.*.*.*.*!"}))
    assert len([name for name, _ in ours(tiny, str(folder)).named_modules() if name.endswith("lora_A")]) == 1


def test_an_alpha_that_is_no_number_or_two_that_differ_are_refused(tiny: Path, tmp_path: Path) -> None:
    for number, (alpha, metadata) in enumerate([(float("nan"), {}), (8.0, {HEADER: '{"r": 2, "lora_alpha": 2}'})]):
        file = tmp_path / f"{number}.safetensors"
        save_file(PAIR | {f"{DIT_TARGET}.alpha": torch.tensor(alpha)}, file, metadata=metadata)
        with pytest.raises(BadInput, match="the alpha"):
            ours(tiny, str(file))


def test_of_several_files_one_has_to_be_chosen(tiny: Path, tmp_path: Path) -> None:
    for name, weights in (("a", PAIR), ("b", OTHER)):
        save_file(weights, tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match=r"a\.safetensors, b\.safetensors") as several:
        find_loras([str(tmp_path)])
    assert several.value.hint.endswith(":a.safetensors")
    (chosen,) = find_loras([f"{tmp_path}:b.safetensors:0.5"])
    assert (chosen.adapter.file.name, chosen.scale) == ("b.safetensors", 0.5)


def test_an_adapter_of_the_half_that_does_not_run_is_refused(tmp_path: Path) -> None:
    save_file(PAIR, tmp_path / "x.safetensors")
    check_runs([str(tmp_path / "x.safetensors")], "dit")
    with pytest.raises(UsageError, match="changes stage 2"):
        check_runs([str(tmp_path / "x.safetensors")], "ar")


@pytest.mark.parametrize("name", ["x" * 300 + ".safetensors", "~nobody/x.safetensors", "a\0b.safetensors"])
def test_a_name_that_cannot_be_is_named(name: str) -> None:
    with pytest.raises(BadInput):
        find_loras([name])


def test_a_replay_applies_what_the_picture_names_or_says_what_it_leaves_out(
    tiny: Path, tmp_path: Path, glmimg: Callable[..., Outcome]
) -> None:
    save_file(PAIR, tmp_path / "style.safetensors")
    out, again = tmp_path / "x.png", tmp_path / "again.png"
    style = f"{tmp_path / 'style.safetensors'}:2"
    drawn = glmimg(
        "t2i", "a tree", "-m", tiny, "-s", "64x64", "--steps", "1", "--lora", style, "--dtype", "bf16", "-o", out
    )
    assert drawn.status == 0, drawn.err
    assert glmimg("replay", out, "-o", again).status == 0
    first, second = (read_provenance(path) for path in (out, again))
    assert (second.changes, second.dtype) == (first.changes, "bfloat16") == ([f"lora {style}"], "bfloat16")
    assert Image.open(out).tobytes() == Image.open(again).tobytes()
    other = glmimg("replay", out, "-m", tiny, "-o", again, "--force")
    assert f"was made with lora {style}; the new picture is made without" in other.err
    (tmp_path / "style.safetensors").unlink()
    gone = glmimg("replay", out, "-o", again, "--force")
    assert gone.status == 3
    assert "style.safetensors" in gone.err


@pytest.mark.parametrize(("command", "status"), [("tokens", 2), ("t2i", 0)])
def test_a_command_of_one_stage_takes_adapters_of_that_stage(
    tiny: Path, tmp_path: Path, glmimg: Callable[..., Outcome], command: str, status: int
) -> None:
    save_file(PAIR, tmp_path / "style.safetensors")
    out, more = (tmp_path / "x.png", ("--steps", "1")) if command == "t2i" else (tmp_path / "x.json", ())
    lora = ("--lora", tmp_path / "style.safetensors")
    done = glmimg(command, "a tree", "-m", tiny, "-s", "64x64", *lora, "-o", out, *more)
    assert done.status == status, done.err
    assert ("changes stage 2 (the picture), but this command runs only stage 1" in done.err) == bool(status)
