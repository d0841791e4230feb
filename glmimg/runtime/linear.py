"""Linear layers whose weights may be used directly, and several of one input joined to one product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def is_plain(module: nn.Module) -> bool:
    """Whether a module's own weights may be used directly: not quantised, not fetched by a hook when called."""
    from torch.nn import Parameter

    weight = module._parameters.get("weight")
    return "forward" not in vars(module) and (weight is None or type(weight) is Parameter)


def joined(modules: Sequence[Any]) -> nn.Linear | None:
    """One linear layer whose outputs are those of `modules`, side by side; None if one of them is not a plain one.

    Their weights and biases become views of the joined ones: they work as before, and nothing is held twice.
    """
    import torch
    from torch import nn

    if not all(type(module) is nn.Linear and is_plain(module) for module in modules):
        return None
    whole = nn.Linear(modules[0].in_features, 1, bias=modules[0].bias is not None, device="meta")
    whole.out_features = sum(module.out_features for module in modules)
    for name in [name for name, _ in whole.named_parameters()]:
        parts = [getattr(module, name) for module in modules]
        together = torch.cat(parts)
        setattr(whole, name, nn.Parameter(together, requires_grad=False))
        for module, view in zip(modules, torch.split(together, [len(part) for part in parts]), strict=True):
            setattr(module, name, nn.Parameter(view, requires_grad=False))
    return whole
