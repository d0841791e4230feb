"""Adapter files in the formats people publish: diffusers', peft's, kohya's. Every key is used, or the file is refused.

Only headers are read here; which layers the names refer to is known once there is a model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open

from glmimg.errors import BadInput
from glmimg.request import problem_of
from glmimg.runtime.checkpoint import Half
from glmimg.text import excerpt

CONFIG = "adapter_config.json"
HEADER = "lora_adapter_metadata"
"""Where diffusers' savers keep the configuration: a JSON text in the header of the file."""

MAX_CONFIG_BYTES = 1 << 20
PEFT_PREFIX = "base_model.model."
PREFIXES = (
    PEFT_PREFIX,
    "transformer.",
    "model.diffusion_model.",
    "diffusion_model.",
    "lora_unet_",
    "lora_transformer_",
)
AR_MODULES = ("model", "lm_head", "language_model", "visual")
"""How the names of the AR half's modules begin; all others are looked for in the DiT."""

OTHER_KINDS = {
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "lora_embedding_": "LoRA of an embedding",
}
"""Endings of keys that mark adapters other than plain LoRAs."""

_PAIR = re.compile(r"(?P<module>.+)\.(?:lora_(?P<side>A|B|down|up)(?:\.\w+)?|lora\.(?P<old>down|up))\.weight")
_NAME = re.compile(r"\^?([\w.]+)\$?")

Rank = Annotated[int, Field(ge=1, le=1 << 16)]
Alpha = Annotated[float, Field(ge=-1e6, le=1e6)]
Nothing = Literal[False] | None


class AdapterConfig(BaseModel):
    """The strength settings of peft's configuration. Whatever makes an adapter more than a plain LoRA is refused."""

    peft_type: Literal["LORA"] = "LORA"
    r: Rank
    lora_alpha: Alpha
    rank_pattern: dict[str, Rank] = {}
    alpha_pattern: dict[str, Alpha] = {}
    use_rslora: bool = False
    bias: Literal["none"] = "none"
    use_dora: Nothing = None
    fan_in_fan_out: Nothing = None
    modules_to_save: Annotated[list[str], Field(max_length=0)] | None = None
    target_parameters: Annotated[list[str], Field(max_length=0)] | None = None
    layer_replication: Annotated[list[Any], Field(max_length=0)] | None = None
    alora_invocation_tokens: Annotated[list[int], Field(max_length=0)] | None = None

    def scale(self, module: str, rank: int) -> float:
        """How strongly the adapter changes a module. Raises ValueError where its rank is not the one stated."""
        stated = _of_module(self.rank_pattern, module, self.r)
        if stated != rank:
            raise ValueError(f"states rank {stated} for {module} but has rank {rank}")
        return _of_module(self.alpha_pattern, module, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


@dataclass(frozen=True)
class Pair:
    """What is added to one linear layer, up @ down: the names of both tensors, and of alpha where a tensor holds it."""

    down: str
    up: str
    alpha: str | None
    rank: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Adapter:
    """An adapter file. pairs: by the module's name in the file, without prefix"""

    file: Path
    half: Half
    pairs: Mapping[str, Pair]
    config: AdapterConfig | None

    def place(self, modules: Iterable[str]) -> dict[str, Pair]:
        """The pairs by the names a model gives its modules. Raises BadInput (exit 3) for one it does not have."""
        known = {name.replace(".", "_"): name for name in modules}
        placed = {known.get(name.replace(".", "_")): pair for name, pair in self.pairs.items()}
        if None in placed:
            missing = [name for name in self.pairs if name.replace(".", "_") not in known]
            raise BadInput(self.file, f"changes {_few(missing)}, which the model does not have")
        if len(placed) < len(self.pairs):
            raise BadInput(self.file, "names a module twice")
        return {str(name): pair for name, pair in placed.items()}

    def scale(self, module: str, pair: Pair, alpha: float | None) -> float:
        """The strength of a pair: alpha from its tensor or the configuration, else 1, as diffusers trains.

        raises: BadInput (exit 3) for an alpha that is not finite, or two that differ
        """
        try:
            configured = None if self.config is None else self.config.scale(module, pair.rank)
        except ValueError as error:
            raise BadInput(self.file, str(error)) from error
        if alpha is None:
            return 1.0 if configured is None else configured
        if not math.isfinite(alpha):
            raise BadInput(self.file, f"gives {module} the alpha {alpha:g}")
        if configured not in (None, alpha / pair.rank):
            raise BadInput(self.file, f"gives {module} the alpha {alpha:g}, but its configuration states another")
        return alpha / pair.rank


def read_adapter(file: Path) -> Adapter:
    """Read which modules a file changes from its header. Raises BadInput (exit 3) unless every key is used."""
    shapes, metadata = _header(file)
    prefix = next((prefix for prefix in PREFIXES if any(key.startswith(prefix) for key in shapes)), "")
    bare = {key.removeprefix(prefix): key for key in shapes}
    sides: dict[str, dict[str, str]] = {}
    unknown = []
    for name, key in bare.items():
        if prefix and not key.startswith(prefix):
            unknown.append(key)
        elif match := _PAIR.fullmatch(name):
            side = match["side"] or match["old"]
            sides.setdefault(match["module"], {})["down" if side in ("A", "down") else "up"] = key
        elif name.endswith(".alpha") and math.prod(shapes[key]) == 1:
            sides.setdefault(name.removesuffix(".alpha"), {})["alpha"] = key
        else:
            unknown.append(key)
    if unknown:
        raise BadInput(file, _describe_unknown(unknown))
    if not sides:
        raise BadInput(file, "changes nothing: it holds no LoRA")
    if sum(map(len, sides.values())) < len(shapes):
        raise BadInput(file, "contains several adapters", "Save each in a separate file.")
    pairs = {module: _pair(file, module, keys, shapes) for module, keys in sides.items()}
    if prefix == PEFT_PREFIX:  # also of a DiT wrapped in more than peft
        pairs = {name.removeprefix("transformer."): pair for name, pair in pairs.items()}
    halves: set[Half] = {"ar" if name.startswith(AR_MODULES) else "dit" for name in pairs}
    if len(halves) > 1:
        raise BadInput(file, f"changes both stages at once, such as {_few(list(pairs))}", "Give one file per stage.")
    return Adapter(file, halves.pop(), pairs, _config(file, metadata, is_peft=prefix == PEFT_PREFIX))


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    try:
        with safe_open(file, "np") as opened:
            shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
            return shapes, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BadInput(file, f"is not a safetensors file: {excerpt(str(error))}") from error


def _pair(file: Path, module: str, keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> Pair:
    down, up = (shapes.get(keys.get(side, ""), ()) for side in ("down", "up"))
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        raise BadInput(file, f"is damaged: the two halves of {excerpt(module)} do not fit each other")
    if min(*down, *up) == 0:
        raise BadInput(file, f"is damaged: {excerpt(module)} is of rank {down[0]}, {up[0]}x{down[1]}")
    return Pair(keys["down"], keys["up"], keys.get("alpha"), down[0], up[0], down[1])


def _config(file: Path, metadata: Mapping[str, str], *, is_peft: bool) -> AdapterConfig | None:
    """The configuration in the header or, of peft's form, beside the file. Raises BadInput (exit 3)."""
    beside = file.parent / CONFIG
    name: Path | str = f"{file}, {HEADER}" if HEADER in metadata else beside
    try:
        if HEADER in metadata:
            values = json.loads(metadata[HEADER])
            values = {key.removeprefix("transformer."): value for key, value in values.items()}
        elif is_peft:
            if not beside.is_file():
                raise BadInput(file, f"has no {CONFIG} beside it, which states its strength")
            with beside.open("rb") as stream:
                values = json.loads(stream.read(MAX_CONFIG_BYTES))
        else:
            return None
        return AdapterConfig.model_validate(values)
    except OSError as error:
        raise BadInput(name, f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadInput(name, f"is not the configuration of a LoRA: {problem_of(error)}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadInput(name, f"is damaged: {excerpt(str(error))}") from error


def _of_module(pattern: Mapping[str, float], module: str, default: float) -> float:
    """The value of the first pattern that a module's name equals or ends with.

    peft reads each as a regular expression, but writes plain names. Raises ValueError for anything else.
    """
    for key, value in pattern.items():
        match = _NAME.fullmatch(key)
        if match is None:
            raise ValueError(f"has a regular expression where glmimg reads names only: {excerpt(key)}")
        if f".{module}".endswith(f".{match[1]}"):
            return value
    return default


def _describe_unknown(keys: list[str]) -> str:
    kinds = {kind for key in keys for word, kind in OTHER_KINDS.items() if word in key}
    if kinds:
        return f"is not a plain LoRA but {' and '.join(sorted(kinds))}, which is not supported: {_few(keys)}"
    return f"contains keys that are not part of a LoRA: {_few(keys)}"


def _few(names: list[str]) -> str:
    shown = ", ".join(excerpt(name) for name in sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
