"""Stand-ins for what asks the CUDA driver, in tests only."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.fx.experimental._config
from torch.overrides import TorchFunctionMode

from tests.card.graph import Graph, Stream
from tests.card.tensors import CardGenerator, OnCard, Present, change, indexed


class Indexed(TorchFunctionMode):
    """Says `cuda:0` for `cuda`, and reads numbers of the card through the host."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            func, args = torch.Tensor.to, (args[0], "cuda:0")
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist() if isinstance(args[0], OnCard) else func(*args)
        if func is torch.empty and kwargs.get("pin_memory"):
            return Present.card.locked(torch.empty(*args, dtype=kwargs["dtype"], device=Present.card.payload))
        if func is torch.tensor:
            args = change(lambda each: each.item() if isinstance(each, OnCard) else each, args)
        if func is not torch.device and getattr(func, "__name__", "") != "__get__":
            args, kwargs = tuple(map(indexed, args)), {name: indexed(each) for name, each in kwargs.items()}
        return func(*args, **kwargs)


def lend_guard() -> None:
    """Let the host's device guard, which does nothing, stand for the one that looks for a driver."""
    if torch.cuda.is_available() and torch.version.cuda is not None:
        raise RuntimeError("there is a real card here: use it")
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")  # CPU, CUDA
    guards[1] = guards[0]


def stand_ins(card: Any) -> list[Any]:
    """Patches that hold while the card is there."""
    run = threading.Thread.run

    def run_on_card(thread: threading.Thread) -> None:  # modes are of one thread
        with Indexed(), card:
            run(thread)

    @contextlib.contextmanager
    def graph(cuda_graph: Graph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global") -> Any:
        cuda_graph.begin(stream, capture_error_mode)
        try:
            yield
        except BaseException:
            card.capturing = None
            raise
        cuda_graph.end()

    def wait(device: Any = None) -> None:
        card.wait("synchronize")

    everywhere: dict[Any, dict[str, Any]] = {threading.Thread: {"run": run_on_card}}
    everywhere[torch.cuda] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "device": _nothing,
        "Stream": Stream,
        "stream": _nothing,
        "current_stream": lambda device=None: Stream(),
        "CUDAGraph": Graph,
        "graph": graph,
        "synchronize": wait,
        "empty_cache": lambda: None,
        "mem_get_info": lambda device=None: (int(card.memory), int(card.memory)),
        "memory_reserved": lambda device=None: int(card.unused),
        "memory_allocated": lambda device=None: 0,
        "get_device_name": lambda device=None: "pretended",
        "get_device_capability": lambda device=None: card.capability,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or card.capability >= (8, 0),
    }
    everywhere[torch.accelerator] = {
        "is_available": lambda: True,
        "current_accelerator": lambda check_available=False: torch.device("cuda"),
        "device_count": lambda: 1,
        "current_device_index": lambda: 0,
        "current_stream": lambda device=None: Stream(),
        "synchronize": wait,
    }
    everywhere[torch] = {"Generator": CardGenerator, "Stream": Stream}
    everywhere[torch.__future__] = {"_overwrite_module_params_on_conversion": True}  # `.to` makes new parameters
    everywhere[torch.fx.experimental._config] = {"meta_nonzero_assume_all_nonzero": True}
    everywhere[torch.Tensor] = {"record_stream": lambda self, stream: None}
    for module in ("ar.layers", "ar.static_decoder", "runtime.linear"):  # parameters are `OnCard`
        everywhere[sys.modules[f"glmimg.{module}"]] = {"is_plain": is_plain}
    return [
        mock.patch.object(owner, name, value) for owner, names in everywhere.items() for name, value in names.items()
    ]


@contextlib.contextmanager
def _nothing(_: Any) -> Iterator[None]:
    yield


def is_plain(module: Any) -> bool:
    """As the program's own, for weights that lie on the pretended card."""
    weight = module._parameters.get("weight")
    return "forward" not in vars(module) and (weight is None or type(weight) in (torch.nn.Parameter, OnCard))
