"""Which attention kernels of those that diffusers can call run on a device."""

from __future__ import annotations

import warnings

import torch

from glmimg.errors import UsageError
from glmimg.runtime.device import Placement
from glmimg.runtime.load import quiet_libraries
from glmimg.text import excerpt

DOWNLOADED = "_hub"
"""How the names end of kernels that diffusers fetches from the hub when they are first used."""


TRIED = 67
"""Places attended to in a trial: no multiple of what kernels take at a time, as a picture's seldom are."""


def check_backend(backend: str, placement: Placement, head_width: int) -> None:
    """Refuse attention kernels that cannot be used here, by diffusers' name; fetches those of the hub.

    raises: UsageError (exit 2)
    """
    if trouble := _trouble(backend, placement, head_width):
        usable = ", ".join(usable_backends(placement, head_width))
        raise UsageError(f"--attention {backend} cannot be used here: {trouble}", f"What runs here: {usable}.")


def usable_backends(placement: Placement, head_width: int) -> list[str]:
    """The kernels that run here with what is installed, by diffusers' names."""
    quiet_libraries()
    from diffusers.models.attention_dispatch import AttentionBackendName

    names = [each.value for each in AttentionBackendName if not each.value.endswith(DOWNLOADED)]
    return [name for name in names if not _trouble(name, placement, head_width)]


def _trouble(backend: str, placement: Placement, head_width: int) -> str:
    """Why these kernels do not run here, tried on a few numbers; empty if they do."""
    quiet_libraries()
    from diffusers.models.attention_dispatch import attention_backend, dispatch_attention_fn

    states = torch.zeros(1, TRIED, 2, head_width, device=placement.device, dtype=placement.dtype)
    try:
        with warnings.catch_warnings(action="ignore"), torch.inference_mode(), attention_backend(backend):
            dispatch_attention_fn(states, states, states, backend=backend)
    except Exception as error:  # whatever the libraries behind it raise
        return excerpt((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
    return ""
