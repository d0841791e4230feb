"""Loading one part of a checkpoint: safetensors only, local files only, never remote code."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, TypeVar

from safetensors import SafetensorError

from glmimg.errors import OutOfMemory
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement

Part = TypeVar("Part")


def load_part(part_class: type[Part], checkpoint: Checkpoint, name: str, placement: Placement | None = None) -> Part:
    """Load `name` (a folder of the checkpoint) with its transformers or diffusers class.

    placement: for parts with weights; they are loaded in its dtype on the host, then moved
    raises:    ModelUnfit (exit 4) if the weights do not fit the configuration; OutOfMemory (exit 5)
    """
    import torch

    quiet_libraries()
    try:
        if placement is None:
            return part_class.from_pretrained(checkpoint.folder / name, local_files_only=True)  # type: ignore
        with torch.no_grad():
            return _load_weights(part_class, checkpoint, name, placement)  # type: ignore[no-any-return]
    except (torch.OutOfMemoryError, MemoryError) as error:
        hint = "Close other programs, or use --dtype bf16."
        raise OutOfMemory(f"no memory left while loading {name}", hint) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise checkpoint.unfit(f"{name} cannot be loaded: {reason}") from error


def _load_weights(part_class: Any, checkpoint: Checkpoint, name: str, placement: Placement) -> Any:
    options = {"local_files_only": True, "use_safetensors": True, "dtype": placement.dtype}
    part, info = part_class.from_pretrained(checkpoint.folder / name, output_loading_info=True, **options)
    # Libraries fill what a file lacks with random numbers and warn; a picture of random weights is no picture.
    lacking = sorted(str(key) for key in info["missing_keys"])
    if lacking:
        raise checkpoint.unfit(f"{name} lacks {len(lacking)} weights, such as {lacking[0]}")
    return part.to(placement.device).eval()


@cache
def quiet_libraries() -> None:
    """Keep the libraries' own bars and advice off the terminal; errors still come through."""
    import transformers.utils.logging as transformers_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("diffusers").setLevel(logging.ERROR)
