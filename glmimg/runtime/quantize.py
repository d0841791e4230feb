"""Compressed weights: the big linear layers in 8 or 4 bits, each layer as it is loaded.

int8 and fp8 keep one scale a row (torchao), nf4 one for 64 weights (bitsandbytes). Only the stacks of equal
layers and the AR half's head are compressed, which is nearly all; embeddings, norms and projections stay as they are.
Activations stay in full precision.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def fill_compressed(
    module: nn.Module, names: Iterable[str], files: WeightFiles, placement: Placement, way: str
) -> None:
    """Load submodules one by one, each compressed before the next is read.

    raises: ModelUnfit (exit 4) for weights of another shape
    """
    for name in names:
        layer = module.get_submodule(name)
        for weight, like in list(layer.named_parameters()):
            put_parameter(layer, weight, read_like(files, f"{name}.{weight}", like, placement))
        _put(module, name, compress(layer, way, placement))


def compress(module: nn.Module, way: str, placement: Placement) -> nn.Module:
    """The module with the weights of every linear layer in it compressed; a linear layer may be replaced as a whole."""
    if way == "nf4":
        return _compress_nf4(module, placement)
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    quantize_(module, Int8WeightOnlyConfig() if way == "int8" else Float8WeightOnlyConfig())
    return module


def _compress_nf4(module: nn.Module, placement: Placement) -> nn.Module:
    from torch import nn

    if isinstance(module, nn.Linear):
        return _nf4_of(module, placement)
    linear_layers = [(name, each) for name, each in module.named_modules() if isinstance(each, nn.Linear)]
    for name, linear in linear_layers:
        _put(module, name, _nf4_of(linear, placement))
    return module


def _nf4_of(linear: nn.Linear, placement: Placement) -> nn.Module:
    import bitsandbytes

    options: dict[str, Any] = {"compute_dtype": placement.dtype, "quant_type": "nf4", "device": "meta"}
    small = bitsandbytes.nn.Linear4bit(linear.in_features, linear.out_features, bias=linear.bias is not None, **options)
    small.weight = bitsandbytes.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
    small.bias = linear.bias
    return small.to(placement.device)  # type: ignore[no-any-return]


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, part)
