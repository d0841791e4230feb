"""Reading single tensors of a checkpoint, and building a module with only the tensors a job needs.

A module is built without storage. Its tensors are then read one by one, converted and assigned. A tensor that
needs neither conversion nor another device stays a view of its file: it takes no memory of its own, and parts of it
that are never touched are never read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

TORCH_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "BOOL": "bool",
}  # fmt: skip
"""What a safetensors header calls a dtype, and what torch calls it."""


NOISE, NOISY_ROWS = 0.02, 1 << 14
"""Deviation of made-up weights, as of fresh ones, and how many rows of a table get some."""


@dataclass(frozen=True)
class Place:
    """The location of a tensor: `size` bytes of `file` from `start` on."""

    file: Path
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]


class WeightFiles:
    """The tensors of one part of a checkpoint, by name, wherever they lie.

    Every tensor is mapped from its file by itself, so that pages read only to be converted go back to the system with
    their tensor: streamed layers come and go thousands of times.
    raises: ModelUnfit (exit 4) for a file that is missing or damaged
    """

    are_made_up = False

    def __init__(self, checkpoint: Checkpoint, part: str) -> None:
        self.checkpoint, self.part = checkpoint, part
        self.places: dict[str, Place] = {}
        for file in checkpoint.weight_files(part):
            tensors, data_start = checkpoint.read_header(file)
            for name, tensor in tensors.items():
                start, end = tensor["data_offsets"]
                place = Place(file, data_start + start, end - start, tensor["dtype"], tuple(tensor["shape"]))
                self.places[name] = place

    def map(self, name: str) -> torch.Tensor:
        """One tensor memory-mapped from its file, on the host; its pages are read when touched."""
        import torch

        place = self.places[name]
        dtype = getattr(torch, TORCH_DTYPES[place.dtype])
        if place.size == 0:
            return torch.empty(place.shape, dtype=dtype)
        # Copy on write: torch wants memory it may write to, the file stays as it is.
        import numpy as np

        raw = np.memmap(place.file, np.uint8, mode="c", offset=place.start, shape=(place.size,))
        return torch.from_numpy(raw).view(dtype).view(place.shape)

    def check(self, name: str, like: torch.Tensor) -> None:
        """Refuse a tensor of another shape than `like`, or of an unknown dtype. Raises ModelUnfit (exit 4)."""
        shape, dtype = self.places[name].shape, self.places[name].dtype
        if shape != tuple(like.shape):
            wrong = f"is of shape {list(shape)}, its configuration says {list(like.shape)}"
            raise self.checkpoint.unfit(f"{self.part}: {name} {wrong}")
        if dtype not in TORCH_DTYPES:
            raise self.checkpoint.unfit(f"{self.part}: {name} is of dtype {dtype}, which is not supported")

    def is_converted(self, name: str, placement: Placement) -> bool:
        """Whether reading this tensor changes its dtype."""
        tensor = self.map(name)
        return tensor.is_floating_point() and tensor.dtype != placement.dtype

    def read(self, name: str, placement: Placement) -> torch.Tensor:
        """One tensor on the device; floating ones in the placement's dtype."""
        tensor = self.map(name)
        return tensor.to(placement.device, placement.dtype if tensor.is_floating_point() else tensor.dtype)


class NoiseFiles(WeightFiles):
    """Stands for the files of a part that has none: noise in the shapes of its module, made on the device."""

    are_made_up = True

    def __init__(self, checkpoint: Checkpoint, part: str, module: nn.Module) -> None:
        self.checkpoint, self.part = checkpoint, part
        shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
        self.places = {name: Place(checkpoint.folder, 0, 0, "BF16", shape) for name, shape in shapes.items()}

    def map(self, name: str) -> torch.Tensor:
        """One tensor on the host. Memory is taken for its first rows alone: those of a table that are looked up."""
        import torch

        tensor = torch.zeros(self.places[name].shape, dtype=torch.bfloat16)
        tensor[:NOISY_ROWS].normal_(0, NOISE)
        return tensor

    def read(self, name: str, placement: Placement) -> torch.Tensor:
        import torch

        tensor = torch.empty(self.places[name].shape, device=placement.device, dtype=placement.dtype)
        return tensor.fill_(1) if "norm" in name else tensor.normal_(0, NOISE)


def weights_of(checkpoint: Checkpoint, part: str, module: nn.Module) -> WeightFiles:
    """The tensors of a part for its module, built before. Raises as `WeightFiles`."""
    return NoiseFiles(checkpoint, part, module) if checkpoint.is_noise else WeightFiles(checkpoint, part)


def build_module(part_class: Any, checkpoint: Checkpoint, part: str, skip: Iterable[str] = ()) -> nn.Module:
    """A part of a checkpoint as a module without weights, but with the buffers its class computes.

    skip: names of submodules to leave out, such as "model.visual"
    """
    from accelerate import init_empty_weights
    from transformers.initialization import no_init_weights

    folder = checkpoint.folder / part
    with init_empty_weights(include_buffers=False), no_init_weights():
        if hasattr(part_class, "load_config"):
            module = part_class.from_config(part_class.load_config(folder, local_files_only=True))
        else:
            module = part_class(part_class.config_class.from_pretrained(folder, local_files_only=True))
    _tie(module)
    leave_out(module, skip)
    return module.eval()  # type: ignore[no-any-return]


def leave_out(module: nn.Module, names: Iterable[str]) -> None:
    """Delete submodules that the job does not need."""
    for name in names:
        parent, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(parent), leaf)


def fill_module(module: nn.Module, files: WeightFiles, placement: Placement, leave: Iterable[str] = ()) -> None:
    """Give every parameter of a built module its tensor.

    leave:  submodules that stay without storage
    raises: ModelUnfit (exit 4) for weights that are missing or of another shape
    """
    left = tuple(f"{name}." for name in leave)
    for name, like in list(module.named_parameters()):
        where = Placement(placement.device, _dtype_of(module, name, placement.dtype))
        tensor = like.to(where.dtype) if name.startswith(left) else read_like(files, name, like, where)
        put_parameter(module, name, tensor)
    _tie(module)
    for name, buffer in list(module.named_buffers()):
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, buffer.to(placement.device))


def _tie(module: Any) -> None:
    """Share again the parameters that a model shares; transformers' models know which."""
    if hasattr(module, "tie_weights"):
        module.tie_weights()


def _dtype_of(module: nn.Module, name: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of one parameter: classes of transformers and diffusers name parts that stay in float32."""
    import torch

    always = getattr(module, "_keep_in_fp32_modules_strict", None) or ()
    in_fp16 = getattr(module, "_keep_in_fp32_modules", None) or ()
    kept = {*always, *(in_fp16 if dtype == torch.float16 else ())}
    return torch.float32 if kept & set(name.split(".")) else dtype


def read_like(
    files: WeightFiles, name: str, like: torch.Tensor, placement: Placement, room: torch.Tensor | None = None
) -> torch.Tensor:
    """A tensor that must have the shape of `like`. Raises ModelUnfit (exit 4).

    room: memory of that shape, in the placement's dtype, to convert it into
    """
    files.check(name, like)
    return files.read(name, placement) if room is None else room.copy_(files.map(name))


def put_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Replace a parameter by name."""
    from torch.nn import Parameter

    parent, _, leaf = name.rpartition(".")
    module.get_submodule(parent).register_parameter(leaf, Parameter(tensor, requires_grad=False))
