"""What the pretended card counts: kernels, bytes they read and write, memory that is held, and its height."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from tests.card.tensors import SDPA, storage_key, tensors

NOTHING = {
    "detach", "detach_", "alias", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided",
    "lift_fresh", "record_stream", "_fused_sdp_choice", "_unsafe_view", "_reshape_alias", "set_",
}  # fmt: skip
"""Operations that launch nothing, beside those the library itself calls views."""

SEVERAL = {
    "sort": 8, "argsort": 8, "cumsum": 2, "cumprod": 2, "topk": 2, "nonzero": 4, "multinomial": 6, "masked_scatter": 4,
    "index_put": 2, "index_put_": 2, "native_group_norm": 2,
}  # fmt: skip
"""Kernels of operations that take more than one, for a row of 16,512 ids."""

BLOCK = 512
"""Torch's allocator gives memory in multiples of so many bytes."""


class Counts:
    """Counts of one card.

    launched: kernels by operation, those of replayed graphs apart in `replayed`
    moved:    bytes that kernels read and wrote, by operation; what is broadcast counts once
    peak:     the most bytes of tensors that were referred to at one time
    """

    def __init__(self) -> None:
        self.launched: Counter[str] = Counter()
        self.replayed: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.peak = 0
        self._lock = threading.RLock()  # streamed layers come by a thread of their own
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._most = 0  # what may be held: the last count and all that was allocated since

    def reset(self) -> None:
        """Start counting anew; what is held stays."""
        for counter in (self.launched, self.replayed, self.moved):
            counter.clear()
        self.peak = self._most = self.held()

    @property
    def kernels(self) -> int:
        """All that were launched, one by one or by a graph."""
        return self.launched.total() + self.replayed.total()

    def held(self) -> int:
        """Bytes of all tensors on the card that are still referred to."""
        with self._lock:
            self._live = {name: each for name, each in self._live.items() if not each[0].expired()}
            return sum(size for _, size in self._live.values())

    def note(self, func: Any, args: Any, kwargs: Any, out: Any, *, in_graph: bool = False) -> None:
        """Take in one operation on the payloads."""
        name = func._schema.name.split("::")[1]
        if number := kernels_of(func, name, args, kwargs):
            (self.replayed if in_graph else self.launched)[name] += number
            touched = {
                (storage_key(each), each.storage_offset(), tuple(each.shape)): bytes_of(each)
                for each in tensors((args, kwargs, out))
            }
            looked_up = name == "embedding"  # of the table only the rows asked for
            self.moved[name] += 2 * bytes_of(out) if looked_up else sum(touched.values())
        if not in_graph:
            with self._lock:
                for each in tensors(out):
                    self._allocated(each)

    def _allocated(self, tensor: torch.Tensor) -> None:
        key = storage_key(tensor)
        if key in self._live and not self._live[key][0].expired():
            return
        storage = tensor.untyped_storage()
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._live[key] = StorageWeakRef(storage), size
        self._most += size
        if self._most > self.peak:  # only now is it worth looking what has gone meanwhile
            self._most = self.held()
            self.peak = max(self.peak, self._most)


def kernels_of(func: Any, name: str, args: Any, kwargs: Any) -> int:
    """How many kernels a card launches for an operation, about: none for views and memory, one for most."""
    returns_view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.arguments)
    if name in NOTHING or func.is_view or returns_view:
        return 0
    if name == "sort" and args[0].numel() > args[0].shape[-1]:
        return 13  # rows are sorted together, then by row
    if func is SDPA:  # a mask of truth values is turned into numbers first, by a fill and a where
        mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        return 1 if mask is None or mask.dtype != torch.bool else 3
    return SEVERAL.get(name, 1)


def bytes_of(tensor: torch.Tensor) -> int:
    """Bytes of a tensor, what is broadcast counted once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or size == 0 else 1
    return count * tensor.element_size()
