"""Streams and graphs of the pretended card: a replay runs recorded kernels on the very buffers, and no host code."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from tests.card.tensors import Present, change, compute, indexed, storage_key, tensors


class Stream:
    """An order of work only; whoever waits for it is noted."""

    def __init__(self, device: Any = None, **_: Any) -> None:
        self.device = torch.device(indexed(device if device is not None else "cuda"))

    def wait_stream(self, other: Any) -> None:
        """Work here comes after work there, as it does anyway."""

    def synchronize(self) -> None:
        """The host waits."""
        Present.card.wait("stream.synchronize")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        """Nothing to give back."""


class Graph:
    """What was launched between begin and end, to be launched again.

    Memory from outside is not kept alive by a graph, as on a real card: reading it after it was freed is an error.
    """

    def __init__(self) -> None:
        self.device = torch.device("cuda", 0)
        self.mode, self.thread = "global", 0
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self.inside: set[int] = set()
        self.kept: list[torch.Tensor] = []
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.outside: dict[int, StorageWeakRef] = {}

    def begin(self, stream: Stream | None, mode: str) -> None:
        """Listen to the device of a stream; without one, to the present device."""
        self.device, self.mode, self.thread = (stream or Stream()).device, mode, threading.get_ident()
        Present.card.capturing = self

    def end(self) -> None:
        """Nothing has run on a card: what was changed is as before, what was allocated holds rubbish."""
        Present.card.capturing = None
        for tensor, value in self.before.values():
            tensor.copy_(value)
        for tensor in self.kept:
            if tensor.is_floating_point() and not tensor.is_meta:
                tensor.fill_(torch.nan)
        self.before.clear()
        if not self.steps:
            raise RuntimeError(f"the CUDA graph is empty: it listened on {self.device}")

    def look(self, func: Any, args: Any, kwargs: Any) -> None:
        """Before a step runs: remember outside memory it reads, and the values of what it will change."""
        schema = func._schema.arguments
        written = {each.name for each in schema if each.alias_info and each.alias_info.is_write}
        named = [*zip([each.name for each in schema], args, strict=False), *kwargs.items()]
        for name, value in named:
            for tensor in tensors(value):
                if storage_key(tensor) in self.inside:
                    continue
                self.outside.setdefault(storage_key(tensor), StorageWeakRef(tensor.untyped_storage()))
                if name in written and storage_key(tensor) not in self.before:
                    count = tensor.untyped_storage().nbytes() // tensor.element_size()
                    whole = tensor.as_strided((count,), (1,), 0)
                    self.before[storage_key(tensor)] = whole, whole.clone()

    def note(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Record a step that has run."""
        known = self.inside | self.outside.keys()
        fresh = [each for each in tensors(out) if storage_key(each) not in known]
        self.kept += fresh
        self.inside |= {storage_key(each) for each in fresh}
        self.steps.append((func, *change(self._loose, (args, kwargs, out))))

    def replay(self) -> None:
        """Run the recorded steps again."""
        Present.card.events["graph replay"] += 1
        for func, args, kwargs, out in self.steps:
            args, kwargs, out = change(_firm, (args, kwargs, out))
            Present.card.counts.note(func, args, kwargs, out, in_graph=True)
            for old, new in zip(tensors(out), tensors(compute(func, args, kwargs)), strict=True):
                if storage_key(old) != storage_key(new):
                    old.copy_(new)

    def _loose(self, tensor: Any) -> Any:
        """A tensor for the record: outside memory is not kept alive by it."""
        if not isinstance(tensor, torch.Tensor) or storage_key(tensor) in self.inside:
            return tensor
        shape = tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride()
        return SimpleNamespace(weak=self.outside[storage_key(tensor)], shape=shape)


def _firm(each: Any) -> Any:
    if not isinstance(each, SimpleNamespace):
        return each
    if each.weak.expired():
        raise RuntimeError("CUDA graph reads memory that has been freed since it was captured")
    storage = torch.UntypedStorage._new_with_weak_ptr(each.weak.cdata)
    dtype, offset, size, stride = each.shape
    return torch.empty(0, dtype=dtype, device=storage.device).set_(storage, offset, size, stride)
