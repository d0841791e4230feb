"""Quantized weights: the large linear layers in 8 or 4 bits, each quantized as it is loaded.

int8 and fp8 keep one scale a row, int4 a scale and a zero point for up to 128 weights (torchao), nf4 one scale for 64
(bitsandbytes). The stacks of equal layers and the AR half's head are compressed, which are nearly all weights.
Embeddings, norms, projections and activations keep their precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from glmimg.errors import UsageError
from glmimg.runtime.device import Placement
from glmimg.runtime.weights import WeightFiles, put_parameter, read_like
from glmimg.text import how_to_install

if TYPE_CHECKING:
    from torch import nn

NONE, AUTO = "none", "auto"
"""What leaves weights as they are, and what lets the plan compress."""

BACKENDS = {"int8": "torchao", "fp8": "torchao", "int4": "torchao", "nf4": "bitsandbytes"}
"""Each quantization method, and its library."""

INT4_DTYPES = {"cpu": ("float32", "bfloat16", "float16"), "cuda": ("bfloat16",), "xpu": ("bfloat16", "float16")}
"""Devices with a kernel for int4 weights, and the activations it takes."""

NF4_BLOCK = 64
"""How many weights share a scale. Not where a block spans two rows: what bitsandbytes computes on a CPU with AVX-512 is
wrong then, so that a layer whose inputs this does not divide stays as it is."""

INT4_GROUPS = (128, 64, 32)
"""How many weights may share a scale; a layer gets the widest group that divides its inputs."""

INT4_ROWS = 16
"""Kernels pack outputs in groups of this many; a layer whose outputs it does not divide stays as it is."""

TENSOR_CORES = (8, 0)
"""Compute capability of the first cards that multiply int4 weights (Ampere)."""


def parse_quantize(text: str) -> dict[str, str]:
    """Parse `int8`, or `ar=int8,dit=fp8`, into a method per stage. Raises UsageError (exit 2) for an unknown one."""
    ways = {"ar": NONE, "dit": NONE}
    for part in text.split(","):
        half, equals, way = part.strip().rpartition("=")
        if equals and half not in ways:
            raise UsageError(f"--quantize {text}: there is no stage {half!r}", "Use ar=... and dit=...")
        if way not in (NONE, *BACKENDS):
            raise UsageError(
                f"--quantize {text}: no such method", f"Use none, {', '.join(BACKENDS)}, or ar=int8,dit=fp8."
            )
        ways |= {half: way} if equals else dict.fromkeys(ways, way)
    return ways


def check_installed(text: str) -> None:
    """Refuse unknown methods, and those whose library is not installed. Raises UsageError (exit 2)."""
    if library := lacks(text):
        raise UsageError(
            f"--quantize {text} needs {library}, which is not installed",
            how_to_install(library),
        )


def lacks(text: str) -> str | None:
    """The library that these ways need and that is not here. Raises as `parse_quantize`."""
    libraries = [BACKENDS[way] for way in parse_quantize(text).values() if way != NONE]
    return next((library for library in libraries if find_spec(library) is None), None)


def is_packed(module: nn.Module) -> bool:
    """Whether a linear layer holds weights of torchao's, whose kernels start without the host: a graph may hold them.

    What bitsandbytes starts is not known well enough.
    """
    weight = module._parameters.get("weight")
    return "forward" not in vars(module) and type(weight).__module__.startswith("torchao.")


def check_device(text: str, placement: Placement) -> None:
    """Refuse int4 where no kernel multiplies it. Raises UsageError (exit 2)."""
    if "int4" not in parse_quantize(text).values():
        return
    kind, others = placement.device.type, "Use --quantize int8, which runs on every device."
    if kind not in INT4_DTYPES:
        raise UsageError(f"--quantize int4: no kernel for {kind}", others)
    if placement.dtype_name not in INT4_DTYPES[kind]:
        raise UsageError(f"--quantize int4 works in bf16 on {kind}, not in {placement.dtype_name}", "Use --dtype bf16.")
    import torch

    if kind == "cuda" and torch.cuda.get_device_capability(placement.device) < TENSOR_CORES:
        raise UsageError(f"--quantize int4: the card {placement.device} is older than Ampere", others)


def fill_compressed(
    module: nn.Module, names: Iterable[str], files: WeightFiles, placement: Placement, way: str
) -> None:
    """Load submodules one by one, each quantized before the next is read.

    raises: ModelUnfit (exit 4) for weights of another shape
    """
    for name in names:
        layer = module.get_submodule(name)
        for weight, like in list(layer.named_parameters()):
            put_parameter(layer, weight, read_like(files, f"{name}.{weight}", like, placement))
        module.set_submodule(name, compress(layer, way, placement))


def compress(module: nn.Module, way: str, placement: Placement) -> nn.Module:
    """Quantize every linear layer of a module. Returns the module, or its replacement if it is a linear layer."""
    from torch import nn

    if way == "nf4":
        for name, each in list(module.named_modules()):
            if isinstance(each, nn.Linear) and each.in_features % NF4_BLOCK == 0:
                if not name:
                    return _nf4_of(each, placement)
                module.set_submodule(name, _nf4_of(each, placement))
        return module
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    if way != "int4":
        quantize_(module, Int8WeightOnlyConfig() if way == "int8" else Float8WeightOnlyConfig())
        return module

    def fits(each: nn.Module, group: int) -> bool:
        return isinstance(each, nn.Linear) and each.out_features % INT4_ROWS == 0 and widest(each.in_features) == group

    for group in INT4_GROUPS:
        config = _int4_config(placement.device.type, group)
        quantize_(module, config, filter_fn=lambda each, name, group=group: fits(each, group))
    return module


def widest(inputs: int) -> int | None:
    """The widest group that divides `inputs`; None if there is none."""
    return next((group for group in INT4_GROUPS if inputs % group == 0), None)


def _int4_config(device: str, group: int) -> Any:
    """Each device has its own packing of weights."""
    if device == "cpu":
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

        return PrototypeInt4WeightOnlyConfig(group_size=group, set_inductor_config=False)
    from torchao.quantization import Int4WeightOnlyConfig

    packing = {"cuda": "tile_packed_to_4d", "xpu": "plain_int32"}[device]
    return Int4WeightOnlyConfig(group_size=group, int4_packing_format=packing, set_inductor_config=False)


def _nf4_of(linear: nn.Linear, placement: Placement) -> nn.Module:
    import bitsandbytes

    options: dict[str, Any] = {"compute_dtype": placement.dtype, "quant_type": "nf4", "device": "meta"}
    small = bitsandbytes.nn.Linear4bit(linear.in_features, linear.out_features, bias=linear.bias is not None, **options)
    small.weight = bitsandbytes.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
    small.bias = linear.bias
    return small.to(placement.device)  # type: ignore[no-any-return]
