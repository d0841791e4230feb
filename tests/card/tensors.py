"""Tensors and generators of the pretended card: they say `cuda`, their numbers lie on the host or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

HostGenerator = torch.Generator
SDPA = torch.ops.aten.scaled_dot_product_attention.default
INT4_PRODUCT = torch.ops.aten._weight_int4pack_mm.default
"""Of a weight that is packed for tensor cores, eight outputs a row."""


class Present:
    """The card tensors are on; one at a time."""

    card: ClassVar[Any] = None


class OnCard(torch.Tensor):
    """A tensor on the pretended card. payload: its numbers, on the host, or its shape on meta"""

    payload: torch.Tensor

    @staticmethod
    def __new__(cls, payload: torch.Tensor, device: torch.device) -> OnCard:
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            payload.size(),
            strides=payload.stride(),
            storage_offset=payload.storage_offset(),
            dtype=payload.dtype,
            layout=payload.layout,
            device=device,
        )
        self.payload = payload
        return self

    def __init__(self, *_: Any) -> None:
        """Made in `__new__`."""

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnCard({self.payload!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert Present.card is not None, f"{func} on a tensor of a card that is gone"
        with Present.card:
            return func(*args, **kwargs or {})


class CardGenerator(torch.Generator):
    """Random numbers, always the host's; generators of the card are known by their address."""

    of_card: ClassVar[set[int]] = set()

    def __new__(cls, device: Any = "cpu") -> Any:
        self = HostGenerator.__new__(cls, "cpu")
        self.place = torch.device(indexed(device))
        (cls.of_card.add if self.place.type == "cuda" else cls.of_card.discard)(self._cdata)
        return self

    def __init__(self, device: Any = "cpu") -> None:
        """Made in `__new__`."""

    device = property(lambda self: self.place)  # type: ignore[assignment]


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on payloads; what torch cannot tell of shapes alone as a card's kernels give it."""
    is_shape = any(each.is_meta for each in tensors((args, kwargs)))
    if is_shape and func is INT4_PRODUCT:
        return args[0].new_empty(*args[0].shape[:-1], 8 * args[1].shape[0])
    if is_shape and func is SDPA:  # laid out as the queries are
        return torch.empty_like(args[0])
    return func(*args, **kwargs)


def indexed(each: Any) -> Any:
    """`cuda:0` for `cuda`: a build without CUDA cannot look up which card is the present one."""
    if isinstance(each, torch.device | str) and str(each) == "cuda":
        return torch.device("cuda", 0)
    return each


def change(how: Callable[[Any], Any], tree: Any) -> Any:
    """The same arguments with every leaf changed."""
    if isinstance(tree, tuple | list):
        return type(tree)([change(how, each) for each in tree])
    return {name: change(how, each) for name, each in tree.items()} if isinstance(tree, dict) else how(tree)


def leaves(tree: Any) -> list[Any]:
    """Everything in nested arguments that is no container."""
    if isinstance(tree, tuple | list):
        return [leaf for each in tree for leaf in leaves(each)]
    return leaves(list(tree.values())) if isinstance(tree, dict) else [tree]


def tensors(tree: Any) -> list[torch.Tensor]:
    """The tensors among the leaves."""
    return [each for each in leaves(tree) if isinstance(each, torch.Tensor)]


def storage_key(tensor: torch.Tensor) -> int:
    """Which memory a tensor lies in."""
    return tensor.untyped_storage()._cdata
