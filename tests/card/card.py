"""The pretended card: every tensor on it says `cuda:0`, its numbers lie on the host.

    with Card() as card:  # a whole command can run with --device cuda
        ...
    with Card(payload="meta") as card:  # no numbers and no memory: the model at its real size
        ...
    card.events, card.attention, card.counts

Classes of transformers and diffusers have to be imported before. It raises what CUDA raises for tensors and generators
of two devices, and for waiting, copying or drawing inside a graph capture. What it cannot see: races between streams,
the numbers of real kernels, their limits and workspaces, how the allocator packs, speed.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.card.counts import Counts
from tests.card.driver import Indexed, lend_guard, stand_ins
from tests.card.graph import Graph
from tests.card.tensors import (
    SDPA,
    CardGenerator,
    HostGenerator,
    OnCard,
    Present,
    change,
    compute,
    leaves,
    storage_key,
)

FUSED = {SDPA, torch.ops.aten.rms_norm.default}
"""Composite operations a card does in one kernel; others are taken apart."""

MAY_MEET = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}
"""Operations that take tensors of two devices, and copy between them."""

COUNTING = {"nonzero", "masked_select", "_unique2", "unique_dim", "equal"}
"""Operations whose result has a size only the card knows, so that the host waits for it."""

FLAG_NONE = 1 << 30
"""What the program's flag for numbers that are not finite holds where all are; of other numbers that lie nowhere 0 is
read."""

FEW = 4096
"""Numbers that stay numbers where others are shapes alone: sizes, places, steps."""

COMPOSITE = "CompositeImplicitAutograd"


class Card(TorchDispatchMode):
    """One pretended card.

    payload: "cpu" for real numbers, "meta" for shapes alone
    memory: bytes it says are free
    unused: bytes beside those that torch has taken and does not use
    capability: what it computes in, as CUDA numbers cards; bf16 from (8, 0) on
    events: what happened that a person should know: replays, and whatever made the host wait, by name
    attention: for each attention of more than no keys, whether cuDNN was allowed to take it, by who asked
    counts: kernels, bytes and memory
    """

    def __init__(self, memory: float = 79e9, capability: tuple[int, int] = (9, 0), payload: str = "cpu") -> None:
        super().__init__()
        self.payload, self.counts = torch.device(payload), Counts()
        self.memory, self.unused, self.capability = memory, 0.0, capability
        self.device = torch.device("cuda", 0)
        self.events: Counter[str] = Counter()
        self.attention: Counter[tuple[str, bool]] = Counter()
        self.capturing: Graph | None = None
        self._locked: set[int] = set()
        self._patches = contextlib.ExitStack()
        self._depth = 0

    def __enter__(self) -> Card:
        if self._depth == 0:
            Present.card = self
            lend_guard()
            self._only_lift = torch._C._only_lift_cpu_tensors()
            torch._C._set_only_lift_cpu_tensors(True)
            for patch in [*stand_ins(self), Indexed()]:
                self._patches.enter_context(patch)
        self._depth += 1
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._depth -= 1
        if self._depth == 0:
            self._patches.close()
            torch._C._set_only_lift_cpu_tensors(self._only_lift)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._run(func, args, kwargs or {})

    def wait(self, what: str) -> None:
        """Something that lets the host wait for the card, or hands over pageable memory; both break a capture.

        Also one that another thread has begun, unless it listens to its own thread alone.
        """
        graph = self.capturing
        if graph is not None and (graph.mode == "global" or graph.thread == threading.get_ident()):
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")
        self.events[what] += 1

    def locked(self, memory: torch.Tensor) -> torch.Tensor:
        """Memory of the host that the card fetches from by itself."""
        self._locked.add(storage_key(memory))
        return memory

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        given = leaves((args, kwargs))
        there = [each for each in given if isinstance(each, OnCard)]
        wanted = next((each for each in given if isinstance(each, torch.device)), None)
        to_card = wanted is not None and wanted.type == "cuda"
        if not there and not to_card:
            return func(*args, **kwargs)
        if func not in FUSED and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        name = func._schema.name.split("::")[1]
        self._check(name, func, given, there)
        if name == "_local_scalar_dense":
            self.wait("item")
            lies = there[0].payload
            return lies.item() if not lies.is_meta else FLAG_NONE if lies.dtype == torch.int32 else 0
        if name == "_fused_sdp_choice":
            return 1
        if name in COUNTING or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            self.wait(name)
        if name == "copy_" and not isinstance(args[0], OnCard):
            self.wait("to host")
            return args[0].copy_(self._numbers(args[1]))
        if name == "_to_copy" and there and wanted is not None and not to_card:
            self.wait("to host")
            return self._numbers(args[0]).to("cpu", kwargs.get("dtype") or args[0].dtype, copy=True)
        if (name == "copy_" and not isinstance(args[1], OnCard)) or (name == "_to_copy" and to_card and not there):
            fetched = bool(kwargs.get("non_blocking")) and storage_key(args[0]) in self._locked
            if fetched:
                self.events["fetched"] += 1
            else:
                self.wait("to card")
        return self._launch(func, args, kwargs, there)

    def _launch(self, func: Any, args: Any, kwargs: Any, there: list[OnCard]) -> Any:
        """Run an operation on the payloads; a capture in this thread hears it."""
        graph = self.capturing
        heard = graph is not None and graph.device == self.device and graph.thread == threading.get_ident()
        inner_args, inner_kwargs = change(self._unwrap, (args, kwargs))
        if not self._has_numbers:
            inner_args, inner_kwargs = self._without_numbers(func, inner_args, inner_kwargs)
        if func is SDPA:
            self.attention[asked_by(), torch.backends.cuda.cudnn_sdp_enabled()] += 1
        if heard and graph is not None:
            graph.look(func, inner_args, inner_kwargs)
        out = compute(func, inner_args, inner_kwargs)
        self.counts.note(func, inner_args, inner_kwargs, out)
        if heard and graph is not None:
            graph.note(func, inner_args, inner_kwargs, out)
        same = {id(each.payload): each for each in there}
        return change(lambda each: same[id(each)] if id(each) in same else self._wrap(each), out)

    def _check(self, name: str, func: Any, given: list[Any], there: list[OnCard]) -> None:
        for each in given:
            if isinstance(each, HostGenerator):
                if each._cdata not in CardGenerator.of_card:
                    raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
                if self.capturing is not None:
                    raise RuntimeError("a generator that is not registered with the graph draws while it is captured")
            is_foreign = isinstance(each, torch.Tensor) and not isinstance(each, OnCard)
            if is_foreign and there and name not in MAY_MEET:
                is_number = not each.dim() and (torch.Tag.pointwise in func.tags or "fill" in name)
                if not is_number:
                    raise RuntimeError(f"Expected all tensors to be on the same device, cuda:0 and cpu: {func}")

    @property
    def _has_numbers(self) -> bool:
        return self.payload.type == "cpu"

    def _numbers(self, tensor: OnCard) -> torch.Tensor:
        return tensor.payload if not tensor.payload.is_meta else torch.zeros(tensor.shape, dtype=tensor.dtype)

    def _without_numbers(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments that are shapes alone where one of them is; what few numbers the host hands over stay numbers."""
        given = [each for each in leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        if not any(each.is_meta for each in given):
            few = all(each.numel() <= FEW for each in given)
            named = isinstance(kwargs.get("device"), torch.device)
            return args, kwargs | {"device": torch.device("cpu" if given and few else "meta")} if named else kwargs
        return change(_shape_of, (args, kwargs))  # type: ignore[return-value]

    def _unwrap(self, each: Any) -> Any:
        if isinstance(each, OnCard):
            return each.payload
        if isinstance(each, torch.device):
            return self.payload if each.type == "cuda" else each
        return each

    def _wrap(self, payload: Any) -> Any:
        if not isinstance(payload, torch.Tensor):
            return payload
        with torch.inference_mode(False):  # whether it is of the inference mode, its payload knows
            return OnCard(payload, self.device)


def _shape_of(each: Any) -> Any:
    if isinstance(each, HostGenerator):
        return None
    if not isinstance(each, torch.Tensor) or not each.dim() or each.is_meta:
        return each
    if not hasattr(each, "shape_alone"):  # lives as long as its numbers do
        each.shape_alone = torch.empty_like(each, device="meta")  # type: ignore[attr-defined]
    return each.shape_alone


def asked_by() -> str:
    """Which part of the program is running: "ar", "dit" or another folder of it, by the innermost frame of its own."""
    import sys

    frame = sys._getframe(1)
    while frame is not None:
        parts = frame.f_code.co_filename.split("/glmimg/")
        if len(parts) > 1 and "site-packages" not in frame.f_code.co_filename and parts[-1].count("/"):
            return parts[-1].split("/")[0]
        frame = frame.f_back  # type: ignore[assignment]
    return "?"
