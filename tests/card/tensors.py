"""Tensors and generators of the pretended card: they say `cuda`, their numbers lie on the host or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
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
    if is_shape and makes_one_tensor(func):
        return shaped_as_before(func, args, kwargs)
    return func(*args, **kwargs)


_made: dict[Any, tuple[torch.Size, tuple[int, ...], torch.dtype]] = {}
"""Shape, strides and type of what operations made of arguments of given shapes: torch takes its time to find them."""


@cache
def makes_one_tensor(func: Any) -> bool:
    """Whether an operation makes a new tensor, no view and in no other's place."""
    results = func._schema.returns
    return len(results) == 1 and str(results[0].type) == "Tensor" and results[0].alias_info is None and not func.is_view


def shaped_as_before(func: Any, args: Any, kwargs: Any) -> torch.Tensor:
    """What an operation makes of shapes, computed once for equal ones."""
    key = func, _signature(args), _signature(kwargs)
    if key not in _made:
        out = func(*args, **kwargs)
        _made[key] = out.shape, out.stride(), out.dtype
        return out
    shape, stride, dtype = _made[key]
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _signature(tree: Any) -> Any:
    """Something hashable that is equal where an operation makes the same of it."""
    if isinstance(tree, tuple | list):
        return tuple([_signature(each) for each in tree])
    if isinstance(tree, dict):
        return tuple([(name, _signature(each)) for name, each in tree.items()])
    if isinstance(tree, torch.Tensor):
        return tree.shape, tree.stride(), tree.dtype, tree.is_meta, tree.is_inference()
    return type(tree), tree if tree.__hash__ is not None else id(tree)


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
