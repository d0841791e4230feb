"""The device and the precision of tensors."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from glmimg.choice import ModelChoice
from glmimg.errors import UsageError
from glmimg.runtime.checkpoint import Half

if TYPE_CHECKING:
    import torch

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
DEVICE_KINDS = ("cpu", "cuda", "mps", "xpu")
COMPILERS = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
"""C++ compilers, one of which torch's compiler needs."""


@dataclass(frozen=True)
class Placement:
    """A device and a precision."""

    device: torch.device
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def recorded(self) -> str:
        """The dtype as pictures record it: by default, CUDA rounds the inputs of fp32 convolutions."""
        rounds = self.device.type == "cuda" and self.precision == "fp32" and _convolves_in_tf32(self.device)
        return f"{self.dtype_name}, convolutions in TF32" if rounds else self.dtype_name

    @property
    def precision(self) -> str:
        """The dtype as `--dtype` names it."""
        return next(name for name, known in DTYPES.items() if known == self.dtype_name)


def check_names(choice: ModelChoice) -> None:
    """Refuse unknown names, and compiling without a compiler, before torch is imported. Raises UsageError (exit 2)."""
    for device in choice.device.split(","):
        kind, colon, index = device.partition(":")
        if device != "auto" and (kind not in DEVICE_KINDS or (colon and not re.fullmatch("[0-9]{1,3}", index))):
            raise UsageError(f"--device {device}: no such device", f"Use auto, {', '.join(DEVICE_KINDS)} or cuda:1.")
    if choice.device.count(",") > 1:
        raise UsageError(f"--device {choice.device}: over two devices", "One for each stage, such as cuda:0,cuda:1.")
    if choice.compile and not any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name):
        raise UsageError(
            "--compile needs a C++ compiler, and none is on PATH",
            f"Install one ({' or '.join(COMPILERS)}) or name it in CXX, or leave --compile out.",
        )


@cache
def compiles_for(device: torch.device) -> bool:
    """Whether torch's compiler builds kernels for a card on this machine: it takes Triton, which takes a C compiler.

    Tried on a small kernel, as nothing else tells.
    """
    import torch

    if find_spec("triton") is None:
        return False
    try:
        torch.compile(torch.sigmoid, dynamic=False)(torch.zeros(8, device=device))
    except Exception:  # whatever Triton, its compiler or the linker raise
        return False
    return True


def device_for(device: str, half: Half) -> str:
    """The device of one stage: of two devices, the first is for stage 1 and the second for stage 2."""
    first, _, second = device.partition(",")
    return second or first if half == "dit" else first


def place(choice: ModelChoice, half: Half = "ar") -> Placement:
    """Device and precision for one stage; `auto` is the first accelerator, else the CPU.

    In precision `auto` is bf16 where an accelerator computes in it, else fp32: fp16 overflows in the VAE.

    raises: UsageError (exit 2) for a device this machine lacks, or a precision the device lacks
    """
    import torch

    check_names(choice)
    name = device_for(choice.device, half)
    device = torch.device(_first_accelerator() if name == "auto" else name)
    if not _is_there(device):
        raise UsageError(f"--device {name} is not on this machine", "Leave --device out, or use --device cpu.")
    if choice.dtype == "auto":
        in_bf16 = Placement(device, torch.bfloat16)
        return in_bf16 if _computes_natively(in_bf16) else Placement(device, torch.float32)
    placement = Placement(device, getattr(torch, DTYPES[choice.dtype]))
    if not _computes_in(placement):
        raise UsageError(f"--dtype {choice.dtype}: {device} does not support it", "Leave --dtype out, or use fp32.")
    return placement


def lacking(choice: ModelChoice, placement: Placement) -> str:
    """A note about a device on which `auto` had to use fp32; empty for the others."""
    if choice.dtype != "auto" or placement.device.type == "cpu" or placement.precision != "fp32":
        return ""
    return f"{placement.device} does not compute in bf16: fp32 is used, which takes twice the memory"


def _first_accelerator() -> str:
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None else "cpu"


def _is_there(device: torch.device) -> bool:
    import torch

    if device.type == "cpu":
        return not device.index
    found = torch.accelerator.current_accelerator(check_available=True)
    return found is not None and found.type == device.type and (device.index or 0) < torch.accelerator.device_count()


def _computes_natively(in_bf16: Placement) -> bool:
    """Whether an accelerator supports bf16 natively; cards before Ampere emulate it slowly, as many CPUs do."""
    import torch

    if in_bf16.device.type == "cuda":
        with torch.cuda.device(in_bf16.device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return in_bf16.device.type != "cpu" and _computes_in(in_bf16)


def _convolves_in_tf32(card: torch.device) -> bool:
    """Whether torch lets cuDNN take the tensor cores of cards since Ampere for fp32 convolutions, as is its default."""
    import torch

    allowed = torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    return allowed and torch.version.hip is None and torch.cuda.get_device_capability(card) >= (8, 0)


def _computes_in(placement: Placement) -> bool:
    """Whether a small matrix product works, since older devices refuse some precisions."""
    import torch

    try:
        square = torch.ones(2, 2, device=placement.device, dtype=placement.dtype)
        return bool((square @ square)[0, 0] == 2)
    except (RuntimeError, TypeError):
        return False
