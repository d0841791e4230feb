"""Loading one part of a checkpoint: safetensors only, local files only, never remote code."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from glmimg.errors import GlmimgError, ModelUnfit, OutOfMemory
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.configuration import make_known
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.runtime.machine import is_out_of_memory, settle_imports
from glmimg.runtime.quantize import NONE, fill_compressed
from glmimg.runtime.stream import StreamedLayers, as_streamed, choose_streamed
from glmimg.runtime.weights import WeightFiles, build_module, fill_module, leave_out, weights_of
from glmimg.text import excerpt

Part = TypeVar("Part")


@dataclass(frozen=True)
class Selection:
    """Which weights of a part are loaded.

    skip:     submodules the job does not need
    replaced: submodules that the caller replaces; they get no weights
    stack:    name of the layers that may be streamed
    layout:   how many of those stay on the device, and how they are compressed
    with_stack: other linear layers that are compressed as the stack is
    """

    skip: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    stack: str = ""
    layout: Layout = field(default_factory=Layout)
    with_stack: tuple[str, ...] = ()


def load_part(part_class: type[Part], checkpoint: Checkpoint, name: str) -> Part:
    """Load a part without weights (a tokenizer, a processor, a scheduler). Raises ModelUnfit (exit 4)."""
    settle_imports()
    with naming_part(checkpoint, name):
        return part_class.from_pretrained(checkpoint.folder / name, local_files_only=True)  # type: ignore


def load_module(
    part_class: type[Part],
    checkpoint: Checkpoint,
    name: str,
    placement: Placement,
    selection: Selection = Selection(),
) -> Part:
    """Load `name` (a folder of the checkpoint) with its transformers or diffusers class, in the placement's dtype.

    raises: ModelUnfit (exit 4) if the weights do not fit the configuration; OutOfMemory (exit 5)
    """
    import torch

    settle_imports()
    with naming_part(checkpoint, name), torch.no_grad():
        if checkpoint.compressed_by(name) is None:
            module: Any = build_module(part_class, checkpoint, name, selection.skip)
            files = weights_of(checkpoint, name, module)
            if all(
                weight in files.places for weight, _ in module.named_parameters()
            ):  # else named as in an older version
                _fill(module, files, placement, selection)
                return module  # type: ignore[no-any-return]
        return _load_by_library(part_class, checkpoint, name, placement, selection)  # type: ignore[no-any-return]


def check_module(part_class: type[Any], checkpoint: Checkpoint, name: str) -> None:
    """Refuse weights that do not fit their configuration, without reading them. Raises ModelUnfit (exit 4)."""
    import torch

    with naming_part(checkpoint, name):
        module = build_module(part_class, checkpoint, name)
        files, wanted = WeightFiles(checkpoint, name), dict(module.named_parameters())
        if all(weight in files.places for weight in wanted):
            for weight, like in wanted.items():
                files.check(weight, like)
        else:
            load_module(part_class, checkpoint, name, Placement(torch.device("cpu"), torch.float32))


def _fill(module: Any, files: WeightFiles, placement: Placement, selection: Selection) -> None:
    stack, with_stack, layout = selection.stack, selection.with_stack, selection.layout
    if layout.quantize != NONE:
        fill_module(module, files, placement, leave=[*selection.replaced, stack, *with_stack])
        names = [f"{stack}.{index}" for index in range(len(module.get_submodule(stack)))]
        fill_compressed(module, [*names, *with_stack], files, placement, layout.quantize)
    elif layout.resident is not None:
        layers = module.get_submodule(stack)
        streamed = choose_streamed(len(layers), layout.resident)
        on_demand = [f"{stack}.{index}" for index in streamed]
        fill_module(module, files, placement, leave=[*selection.replaced, *on_demand])
        module.streamed_layers = StreamedLayers(layers, stack, streamed, files, placement)
        module.set_submodule(stack, as_streamed(layers, module.streamed_layers))
    else:
        fill_module(module, files, placement, leave=selection.replaced)


@contextmanager
def naming_part(checkpoint: Checkpoint, name: str) -> Iterator[None]:
    """Turn any exception of a library about a part into an error that names the part.

    raises: ModelUnfit (exit 4), OutOfMemory (exit 5)
    """
    try:
        yield
    except GlmimgError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            hint = "Close other programs, or use --memory stream."
            raise OutOfMemory(f"no memory left while loading {name}", hint) from error
        reason = excerpt(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
        if isinstance(error, ImportError):
            message = f"model {checkpoint.id}: {name} cannot be loaded: {reason}"
            raise ModelUnfit(message, "Install what is missing, or update transformers and diffusers.") from error
        raise checkpoint.unfit(f"{name} cannot be loaded: {reason}") from error


def _load_by_library(
    part_class: Any, checkpoint: Checkpoint, name: str, placement: Placement, selection: Selection
) -> Any:
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "dtype": placement.dtype}
    make_known(method := checkpoint.compressed_by(name))
    if method and placement.device.type != "cpu":
        options["device_map"] = {"": str(placement.device)}  # packed for the device they are loaded on
    part, info = part_class.from_pretrained(checkpoint.folder / name, output_loading_info=True, **options)
    # Libraries fill what a file lacks with random numbers and warn; a picture of random weights is no picture.
    lacking = sorted(str(key) for key in info["missing_keys"])
    if lacking:
        raise checkpoint.unfit(f"{name} lacks {len(lacking)} weights, such as {lacking[0]}")
    leave_out(part, selection.skip)
    return part.to(placement.device).eval()


@cache
def quiet_libraries() -> None:
    """Keep the libraries' progress bars and advice off the terminal; errors are still shown.

    To be called before a model's class is imported: where torchao or bitsandbytes is there, transformers or diffusers
    imports it then, which warns of kernels for other machines, and torch of how it registers itself.
    """
    import transformers.utils.logging as transformers_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # read, and its logger set, when it is imported
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
