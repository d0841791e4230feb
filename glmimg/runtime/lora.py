"""LoRA adapters: found, checked against the model, then added to a stage's layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import safe_open

from glmimg.errors import BadInput, UsageError
from glmimg.runtime.adapter import CONFIG, Adapter, read_adapter
from glmimg.runtime.checkpoint import BACKBONES, PARTS, Checkpoint, Half
from glmimg.runtime.device import Placement
from glmimg.runtime.resolve import find_path, is_hub_id
from glmimg.runtime.weights import build_module, put_parameter
from glmimg.text import how_to_install, printable, shell_words

ENDING = ".safetensors"


@dataclass(frozen=True)
class Lora:
    """An adapter on this machine.

    spec:  as on the command line, scale included
    scale: its strength, 1 as trained
    """

    spec: str
    adapter: Adapter
    scale: float

    @property
    def half(self) -> Half:
        return self.adapter.half


def find_loras(spec: Sequence[str]) -> list[Lora]:
    """The adapters named on a command line, `PATH_OR_HUB[:FILE][:SCALE]` each.

    raises: UsageError (exit 2) without peft, or for a scale that is not a number from -10 to 10;
            BadInput (exit 3) for a missing file, or one that is not an adapter
    """
    if spec and find_spec("peft") is None:
        raise UsageError("--lora needs peft, which is not installed", how_to_install("lora"))
    return [_find(each) for each in spec]


def check_runs(spec: Sequence[str], half: Half) -> None:
    """Refuse adapters for a stage that the command does not run. Raises UsageError (exit 2), BadInput (exit 3)."""
    for lora in find_loras(spec):
        if lora.half != half:
            ours, theirs = ("1 (tokens)", "2 (the picture)") if half == "ar" else ("2 (the picture)", "1 (tokens)")
            raise UsageError(
                f"--lora {lora.spec} changes stage {theirs}, but this command runs only stage {ours}", "Leave it out."
            )


def check_fits(lora: Lora, checkpoint: Checkpoint) -> None:
    """Refuse an adapter made for another model, before weights load. Raises BadInput (exit 3)."""
    from torch import nn

    library = import_module("diffusers" if lora.half == "dit" else "transformers")
    part = BACKBONES[lora.half]
    module = build_module(getattr(library, PARTS[part].class_name), checkpoint, part)
    linear = {name: each for name, each in module.named_modules() if isinstance(each, nn.Linear)}
    for name, pair in lora.adapter.place(linear).items():
        rows, columns = linear[name].out_features, linear[name].in_features
        if (pair.rows, pair.columns) != (rows, columns):
            raise BadInput(
                lora.adapter.file,
                f"does not fit {checkpoint.id}: {name} is {rows}x{columns} there and {pair.rows}x{pair.columns} here",
            )
    _scales(lora)


def put_on(module: Any, loras: Sequence[Lora], placement: Placement) -> None:
    """Add adapters of one half to its loaded module, by peft's layers: base(x) + scale * up(down(x)).

    raises: BadInput (exit 3)
    """
    if not loras:
        return
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    for number, lora in enumerate(loras):
        name, scales = f"lora{number}", _scales(lora)
        placed = lora.adapter.place(each for each, _ in module.named_modules())
        ranks = {f"^{re.escape(target)}$": pair.rank for target, pair in placed.items()}
        config = LoraConfig(
            rank_pattern=ranks, target_modules=f"({'|'.join(map(re.escape, placed))})", inference_mode=True
        )
        inject_adapter_in_model(config, module, adapter_name=name, low_cpu_mem_usage=True)
        with safe_open(lora.adapter.file, "pt") as tensors:
            for target, pair in placed.items():
                layer = module.get_submodule(target)
                for side, key in ((layer.lora_A, pair.down), (layer.lora_B, pair.up)):
                    weight = tensors.get_tensor(key).to(placement.device, placement.dtype)
                    put_parameter(side, f"{name}.weight", weight)
                layer.scaling[name] = lora.scale * scales[pair.down]
    for layer in module.modules():
        if isinstance(layer, LoraLayer):  # injecting one adapter deactivates the others in all layers
            layer.set_adapter(list(layer.scaling))
    module.requires_grad_(False)


def _scales(lora: Lora) -> dict[str, float]:
    """The strength of each pair before the user's scale, by the name of its down tensor."""
    adapter = lora.adapter
    with safe_open(adapter.file, "pt") as tensors:
        alphas = {name: float(tensors.get_tensor(pair.alpha)) for name, pair in adapter.pairs.items() if pair.alpha}
    return {pair.down: adapter.scale(name, pair, alphas.get(name)) for name, pair in adapter.pairs.items()}


def _find(spec: str) -> Lora:
    try:
        name, file, scale = split_spec(spec)
        path = find_path(name)
        path = _from_hub(name, file) if path is None else path / file
        there = sorted(path.glob(f"*{ENDING}")) if path.is_dir() else [path]
    except OSError as error:
        raise BadInput(spec, f"cannot be read: {error.strerror}") from error
    if len(there) > 1:
        names = ", ".join(printable(each.name) for each in there)
        hint = f"Choose one: --lora {shell_words(f'{name}:{there[0].name}')}"
        raise BadInput(path, f"contains several adapters: {names}", hint)
    if not there or not there[0].is_file() or there[0].suffix != ENDING:
        raise BadInput(path, "contains no adapter (a .safetensors file)")
    return Lora(spec, read_adapter(there[0]), scale)


def split_spec(spec: str) -> tuple[str, str, float]:
    """Split `NAME[:FILE][:SCALE]` into its parts; a colon within a path belongs to the path."""
    if find_path(spec) is not None:
        return spec, "", 1.0
    name, scale = spec, 1.0
    start, colon, tail = spec.rpartition(":")
    if colon and not tail.endswith(ENDING) and "/" not in tail:
        try:
            name, scale = start, float(tail)
        except ValueError as error:
            hint = "For example --lora style.safetensors:0.8"
            raise UsageError(f"--lora {spec}: {tail!r} is not a scale", hint) from error
        if not -10 <= scale <= 10:
            raise UsageError(f"--lora {spec}: the scale is not between -10 and 10", "1 is as trained.")
    start, colon, tail = name.rpartition(":")
    return (start, tail, scale) if colon and tail.endswith(ENDING) else (name, "", scale)


def _from_hub(name: str, file: str) -> Path:
    """An adapter in the hub cache. Raises BadInput (exit 3)."""
    if not is_hub_id(name):
        raise BadInput(name, "does not exist", "Give a .safetensors file, a folder, or a hub id.")
    from huggingface_hub import hf_hub_download, snapshot_download

    # A README may be missing, but not an adapter: another one would be used in its place.
    try:
        if file:
            return Path(hf_hub_download(name, file, local_files_only=True))
        return Path(snapshot_download(name, allow_patterns=[f"*{ENDING}", CONFIG], local_files_only=True))
    except (OSError, ValueError) as error:
        hint = f"Give a file or folder, or download it first: hf download {shell_words(name, *filter(None, [file]))}"
        raise BadInput(
            f"{name}:{file}" if file else name, "is neither a file nor an adapter in the hub cache", hint
        ) from error
