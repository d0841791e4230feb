"""Checkpoints that come compressed: `config.json` names the library, and only that one reads the weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

READERS = {
    "auto-round": ("auto_round", "auto-round"),
    "awq": ("gptqmodel", "gptqmodel"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "gptq": ("gptqmodel", "gptqmodel"),
    "hqq": ("hqq", "hqq"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
    "sdnq": ("sdnq", "sdnq"),
    "torchao": ("torchao", "torchao"),
}
"""By method: the module that reads such weights, and the package that holds it. Others are left to the libraries."""

IN_HALF_PRECISION = ("auto-round", "awq", "gptq")
"""Methods whose libraries turn a part loaded in fp32 into fp16."""


def method_of(config: Mapping[str, Any]) -> str | None:
    """How the part with this configuration is compressed, such as "auto-round"; None if it is not."""
    settings = config.get("quantization_config")
    if not isinstance(settings, Mapping):
        return None
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    return str(settings.get("quant_method") or "an unnamed method")


def missing_reader(method: str) -> str | None:
    """The package that reads weights of this method, if it is not installed."""
    module, package = READERS.get(method, ("", ""))
    try:
        return package if module and find_spec(module) is None else None
    except ModuleNotFoundError:  # not even the package around it
        return package
