"""LoRA adapters: found, checked against the model, then added to the weights of a half.

A file of diffusers' kind (keys `transformer....`) is for the DiT, a folder of peft's kind (with an
`adapter_config.json`) for the AR half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glmimg.errors import BadInput, UsageError
from glmimg.runtime.checkpoint import BACKBONES, PARTS, Checkpoint, Half
from glmimg.runtime.resolve import is_hub_id
from glmimg.runtime.weights import build_module

DIT_FILE, AR_FILE, AR_CONFIG = "pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_config.json"
PREFIXES: dict[Half, str] = {"dit": "transformer.", "ar": "base_model.model."}


@dataclass(frozen=True)
class Lora:
    """An adapter on this machine.

    spec:  as on the command line, scale included
    file:  its safetensors file
    scale: how strongly it works, 1 as trained
    """

    spec: str
    file: Path
    scale: float
    half: Half


def find_loras(spec: Sequence[str]) -> list[Lora]:
    """The adapters named on a command line, `PATH_OR_HUB` or `PATH_OR_HUB:SCALE` each.

    raises: UsageError (exit 2) without peft, or for a scale that is not a number from -10 to 10;
            BadInput (exit 3) for a missing file, or one that is not an adapter
    """
    if spec and find_spec("peft") is None:
        raise UsageError("--lora needs peft, which is not installed", "Install it: pip install 'glmimg[lora]'")
    return [_find(each) for each in spec]


def check_fits(lora: Lora, checkpoint: Checkpoint) -> None:
    """Refuse an adapter made for another model, before weights load. Raises BadInput (exit 3)."""
    library = import_module("diffusers" if lora.half == "dit" else "transformers")
    part = BACKBONES[lora.half]
    module = build_module(getattr(library, PARTS[part].class_name), checkpoint, part)
    shapes = {name: tuple(like.shape) for name, like in module.named_parameters()}
    for name, rows, columns in _targets(lora):
        there = shapes.get(f"{name}.weight")
        if there is None:
            raise BadInput(lora.file, f"changes {name}, which {checkpoint.id} does not have")
        if there != (rows, columns):
            raise BadInput(
                lora.file,
                f"does not fit {checkpoint.id}: {name} is {there[0]}x{there[1]} there and {rows}x{columns} here",
            )


def put_on(module: Any, loras: Sequence[Lora]) -> None:
    """Add adapters of one half to its loaded module. source: diffusers' and peft's own loaders."""
    if not loras:
        return
    from peft.tuners.lora import LoraLayer
    from safetensors.torch import load_file

    scales = {f"lora{number}": lora.scale for number, lora in enumerate(loras)}
    for name, lora in zip(scales, loras, strict=True):
        if lora.half == "dit":
            module.load_lora_adapter(load_file(lora.file), prefix="transformer", adapter_name=name)
        else:
            _inject(module, lora, name)
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            present = [name for name in scales if name in layer.scaling]
            for name in present:
                layer.set_scale(name, scales[name])
            layer.set_adapter(present)
    module.requires_grad_(False).to(module.device, module.dtype)


def _inject(module: Any, lora: Lora, name: str) -> None:
    """Add an adapter of peft's kind to a model that is not a `PeftModel`."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = LoraConfig.from_pretrained(str(lora.file.parent))
    config.inference_mode = True
    inject_adapter_in_model(config, module, adapter_name=name)
    weights = {key.removeprefix(PREFIXES["ar"]): tensor for key, tensor in load_file(lora.file).items()}
    set_peft_model_state_dict(module, weights, adapter_name=name)


def _find(spec: str) -> Lora:
    name, scale = _split_scale(spec)
    path = Path(name).expanduser()
    if not path.exists():
        path = _from_hub(name)
    candidates = [path] if path.is_file() else [path / AR_FILE, path / DIT_FILE, *sorted(path.glob("*.safetensors"))]
    file = next((each for each in candidates if each.is_file() and each.suffix == ".safetensors"), None)
    if file is None:
        raise BadInput(path, "holds no adapter (a .safetensors file)")
    keys = _shapes(file)
    half = next((half for half, prefix in PREFIXES.items() if any(key.startswith(prefix) for key in keys)), None)
    if half is None:
        raise BadInput(file, "is no LoRA of diffusers' or peft's kind for a GLM-Image")
    if half == "ar" and not (file.parent / AR_CONFIG).is_file():
        raise BadInput(file, f"has no {AR_CONFIG} beside it")
    return Lora(spec, file, scale, half)


def _split_scale(spec: str) -> tuple[str, float]:
    name, colon, tail = spec.rpartition(":")
    if not colon or "/" in tail:
        return spec, 1.0
    try:
        scale = float(tail)
    except ValueError as error:
        raise UsageError(f"--lora {spec}: {tail!r} is no scale", "For example --lora style.safetensors:0.8") from error
    if not -10 <= scale <= 10:
        raise UsageError(f"--lora {spec}: the scale is not within -10 and 10", "1 is as trained.")
    return name, scale


def _from_hub(name: str) -> Path:
    if not is_hub_id(name):
        raise BadInput(name, "does not exist", "Give a .safetensors file, a folder, or a hub id.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    # A README may be missing, but not the file that would be taken first: another would go on in its stead.
    try:
        return Path(snapshot_download(name, allow_patterns=[AR_FILE, DIT_FILE], local_files_only=True))
    except (LocalEntryNotFoundError, FileNotFoundError, ValueError) as error:
        hint = f"Give a file or folder, or fetch it first: hf download {name}"
        raise BadInput(name, "is no file, and no adapter in the hub cache", hint) from error


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(file, f"is not a safetensors file: {error}") from error


def _targets(lora: Lora) -> Iterator[tuple[str, int, int]]:
    """Every module the adapter changes, with the rows and columns of the weight it expects."""
    shapes, prefix = _shapes(lora.file), PREFIXES[lora.half]
    for key, shape in shapes.items():
        if key.startswith(prefix) and key.endswith(".lora_A.weight"):
            name = key.removeprefix(prefix).removesuffix(".lora_A.weight")
            other = shapes.get(key.replace(".lora_A.", ".lora_B."))
            if other is None or len(shape) != 2 or len(other) != 2 or other[1] != shape[0]:
                raise BadInput(lora.file, f"is damaged: the two halves of {name} do not fit each other")
            yield name, other[0], shape[1]
