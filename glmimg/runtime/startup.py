"""Starting without torch's compiler, which the libraries import only to mark functions for it.

transformers and diffusers decorate functions with `torch.compiler.disable` and the like, which imports torch._dynamo,
sympy and distributed tensors: 75 MB and a quarter of the start, for code that is hardly ever compiled. A stand-in
notes the marks instead, and hands them to the compiler as soon as somebody asks it for anything else. accelerate
delays its own marks for the same reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
TRACING = f"{COMPILER}._trace_wrapped_higher_order_op"
"""Where transformers takes the name of a class from that only compiled masks use."""

_alone = False


def own_process() -> None:
    """Said by a process of glmimg's own: nobody else's code in it minds what is imported late, or not at all."""
    global _alone
    _alone = True


def start_lean() -> None:
    """To be called before classes of the libraries are imported. Does nothing where others share the process."""
    if not _alone or COMPILER in sys.modules:
        return
    import torch
    from transformers.utils import import_utils

    compiler = CompilerLater()
    sys.modules[COMPILER] = compiler
    sys.modules[TRACING] = PartLater(TRACING, compiler)
    sys.meta_path.append(PartFinder(compiler))
    answer, torch.distributed.is_available = torch.distributed.is_available, lambda: False
    try:
        import_utils.is_torch_distributed_available()  # asks once, and keeps the answer
    finally:
        torch.distributed.is_available = answer


class CompilerLater(ModuleType):
    """Stands for torch._dynamo: notes marks, and is replaced by the real one when it is asked for more."""

    def __init__(self) -> None:
        super().__init__(COMPILER)
        self.__path__: list[str] = []  # a package, so that its parts are asked of `PartFinder`
        self._marks: list[Callable[[Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.arrive(), name)

    def arrive(self) -> Any:
        """The real module, in its place from now on, told of all marks."""
        if sys.modules.get(COMPILER) is self:
            for name in (COMPILER, TRACING):
                sys.modules.pop(name, None)
        compiler = import_module(COMPILER)
        marks, self._marks = self._marks, []
        for mark in marks:
            mark(compiler)
        return compiler

    def disable(self, fn: Any = None, recursive: bool = True, **options: Any) -> Any:
        """A function that is left out of compiled code; plain until there is a compiler."""
        if fn is None:
            return partial(self.disable, recursive=recursive, **options)
        if isinstance(fn, type):
            return self.arrive().disable(fn, recursive, **options)
        function = fn

        def mark(compiler: Any) -> None:
            nonlocal function
            function = compiler.disable(fn, recursive, **options)

        @wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        self._marks.append(mark)
        return call

    def allow_in_graph(self, fn: Any) -> Any:
        """Something compiled code does not look into."""
        self._marks.append(lambda compiler: compiler.allow_in_graph(fn))
        return fn

    def assume_constant_result(self, fn: Any) -> Any:
        """A function whose result compiled code takes for constant."""
        self._marks.append(lambda compiler: compiler.assume_constant_result(fn))
        return fn


class PartLater(ModuleType):
    """Stands for a part of the compiler: what is taken from it is looked up when it is called."""

    def __init__(self, name: str, compiler: CompilerLater) -> None:
        super().__init__(name)
        self._compiler = compiler

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def later(*args: Any, **kwargs: Any) -> Any:
            self._compiler.arrive()
            return getattr(import_module(self.__name__), name)(*args, **kwargs)

        return later


class PartFinder(MetaPathFinder, Loader):
    """Finds parts of the compiler by letting it arrive: those are there then."""

    def __init__(self, compiler: CompilerLater) -> None:
        self._compiler = compiler

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not self._compiler.__path__:
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self._compiler.arrive()
        return import_module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it was run when the compiler arrived."""
