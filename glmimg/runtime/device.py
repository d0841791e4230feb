"""Where tensors live and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from glmimg.errors import UsageError
from glmimg.job import ModelChoice
from glmimg.runtime.compiling import check_compiler
from glmimg.runtime.layout import check_mode

if TYPE_CHECKING:
    import torch

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
DEVICE_KINDS = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Placement:
    """A device and a precision."""

    device: torch.device
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def check_names(choice: ModelChoice) -> None:
    """Refuse what this machine or any cannot do, without importing torch. Raises UsageError (exit 2)."""
    kind, _, index = choice.device.partition(":")
    if choice.device != "auto" and (kind not in DEVICE_KINDS or (index and not index.isdecimal())):
        raise UsageError(f"--device {choice.device}: no such device", f"Use auto, {', '.join(DEVICE_KINDS)} or cuda:1.")
    if choice.dtype not in ("auto", *DTYPES):
        raise UsageError(f"--dtype {choice.dtype}: no such precision", f"Use auto, {', '.join(DTYPES)}.")
    check_mode(choice.memory)
    if choice.compile:
        check_compiler()


def place(choice: ModelChoice) -> Placement:
    """Device and precision for a choice; `auto` is the first accelerator in bf16, else the CPU in fp32.

    raises: UsageError (exit 2) for a device this machine lacks
    """
    import torch

    check_names(choice)
    device = torch.device(_first_accelerator() if choice.device == "auto" else choice.device)
    if not _is_there(device):
        raise UsageError(f"--device {choice.device} is not on this machine", "Leave --device out, or use --device cpu.")
    if choice.dtype == "auto":
        return Placement(device, torch.float32 if device.type == "cpu" else torch.bfloat16)
    return Placement(device, getattr(torch, DTYPES[choice.dtype]))


def _first_accelerator() -> str:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator is not None else "cpu"


def _is_there(device: torch.device) -> bool:
    import torch

    if device.type == "cpu":
        return True
    found = torch.accelerator.current_accelerator(check_available=True)
    return found is not None and found.type == device.type and (device.index or 0) < torch.accelerator.device_count()
