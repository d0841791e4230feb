"""Compressed weights: the big linear layers in 8 or 4 bits, each layer as it is loaded.

int8 and fp8 keep one scale a row (torchao), nf4 one for 64 weights (bitsandbytes). Only the stacks of equal
layers are compressed, which is nearly all; embeddings, norms, projections and the head stay as they are.
Activations stay in full precision.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from glmimg.errors import UsageError
from glmimg.runtime.device import Placement
from glmimg.runtime.weights import WeightFiles, put_parameter, read_like

if TYPE_CHECKING:
    from torch import nn

NONE = "none"
BACKENDS = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
"""How to compress, and the library that does it."""


def parse_quantize(text: str) -> dict[str, str]:
    """`int8`, or `ar=int8,dit=fp8`, to a way for each half.

    raises: UsageError (exit 2) for an unknown way or half, or a library that is not installed
    """
    ways = {"ar": NONE, "dit": NONE}
    for part in text.split(","):
        half, equals, way = part.strip().rpartition("=")
        if equals and half not in ways:
            raise UsageError(f"--quantize {text}: there is no half {half!r}", "Use ar=... and dit=...")
        if way not in (NONE, *BACKENDS):
            raise UsageError(f"--quantize {text}: no such way", f"Use none, {', '.join(BACKENDS)}, or ar=int8,dit=fp8.")
        ways |= {half: way} if equals else dict.fromkeys(ways, way)
    for way in set(ways.values()) - {NONE}:
        if find_spec(BACKENDS[way]) is None:
            raise UsageError(
                f"--quantize {way} needs {BACKENDS[way]}, which is not installed",
                f"Install it: pip install 'glmimg[{BACKENDS[way]}]'",
            )
    return ways


def fill_compressed(layers: nn.ModuleList, prefix: str, files: WeightFiles, placement: Placement, way: str) -> None:
    """Load layers one by one, each compressed before the next is read.

    prefix: name of the stack within its part
    raises: ModelUnfit (exit 4) for weights of another shape
    """
    for index, layer in enumerate(layers):
        for name, like in list(layer.named_parameters()):
            put_parameter(layer, name, read_like(files, f"{prefix}.{index}.{name}", like, placement))
        compress(layer, way, placement)


def compress(module: nn.Module, way: str, placement: Placement) -> None:
    """Replace the weights of every linear layer inside a module."""
    if way == "nf4":
        _compress_nf4(module, placement)
        return
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    quantize_(module, Int8WeightOnlyConfig() if way == "int8" else Float8WeightOnlyConfig())


def _compress_nf4(module: nn.Module, placement: Placement) -> None:
    import bitsandbytes
    from torch import nn

    linear_layers = [(name, each) for name, each in module.named_modules() if isinstance(each, nn.Linear)]
    for name, linear in linear_layers:
        options: dict[str, Any] = {"compute_dtype": placement.dtype, "quant_type": "nf4", "device": "meta"}
        small = bitsandbytes.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=linear.bias is not None, **options
        )
        small.weight = bitsandbytes.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
        small.bias = linear.bias
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, small.to(placement.device))
