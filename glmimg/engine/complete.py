"""Completes a job: settings that were not given come from the sources, the checkpoint or the default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from glmimg.errors import BadImage, UsageError
from glmimg.grid import preview_shape, target_shape
from glmimg.job import (
    Job,
    Painting,
    Sampling,
    Scene,
    Size,
    SourceRef,
    random_seed,
)
from glmimg.knob import Settings, knobs
from glmimg.preset import default_values
from glmimg.prompts import check_markers, check_prompt
from glmimg.request import Layer, merge
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.stencil import DroppedCells
from glmimg.tokens.region import region_of, stencil_of

MARKERS = 2
"""Tokens around a source's codes: image start and image end."""

Model = TypeVar("Model", bound=Settings)


def complete(given: Layer, checkpoint: Checkpoint, sources: Sequence[SourceRef] = ()) -> Job:
    """The complete job of a request. An edit has the size of its first source unless a size is given.

    given:  knobs of a job by name, and its prompt
    raises: UsageError, SizeError (exit 2) for an empty prompt, a size no grid can have, or a window larger than the
            grids; BadImage (exit 3) for more sources than fit the model's context
    """
    prompt = given.get("prompt")
    if prompt is None:
        raise UsageError("no prompt given", "Say what to draw, for example 'a red circle'.")
    default = (sources[0].height, sources[0].width) if sources else checkpoint.default_size
    check_markers(prompt, checkpoint.markers)
    size = given.get("size") or Size(*default)
    target = target_shape(*size)
    check_sources_fit(sources, target.cells, checkpoint)
    seed = random_seed() if given.get("seed") is None else given["seed"]
    sampling = complete_sampling({**given, "seed": seed}, checkpoint)
    most = target.cells if sources else max(target.cells, preview_shape(target).cells)
    if sampling.ar_window is not None and sampling.ar_window > most:
        raise UsageError(
            f"--ar-window {sampling.ar_window} is larger than the grid of {most} tokens",
            "Leave it out, or try --ar-window 16.",
        )
    scene = Scene(prompt=check_prompt(prompt), size=size, sources=tuple(sources), forms=given.get("forms", ()))
    return Job(scene=scene, sampling=sampling, painting=complete_painting(given, seed, size, sources))


def complete_sampling(given: Layer, checkpoint: Checkpoint) -> Sampling:
    """How stage 1 samples: as given, else as the checkpoint's generation_config says."""
    default = checkpoint.generation_config
    below = {"temperature": float(default["temperature"]), "top_p": float(default["top_p"])}
    return _fill(Sampling, merge(given, below, {"top_k": int(default["top_k"]) or None}))


def complete_painting(given: Layer, seed: int, size: Size, sources: Sequence[SourceRef] = ()) -> Painting:
    """How stage 2 paints a dump of this seed, size and sources: as given, else as the preset `default` says.

    raises: UsageError (exit 2) for a box outside the picture, or a mask that these sources rule out;
            BadImage (exit 3) for an unfit mask
    """
    values = merge(given, default_values(), {"dit_seed": seed})
    if isinstance(values.get("drop"), str):
        shape, region = target_shape(*size), region_of(values["drop"], size, target_shape(*size))
        values["drop"] = DroppedCells(region=region.text, cells=region.cells(shape))
    if isinstance(values.get("mask"), str):
        values["mask"] = stencil_of(values["mask"], size) if values["mask"] else None
    painting = _fill(Painting, values)
    try:
        painting.check_fits(size, sources)
    except ValueError as error:
        hint = "Draw an edit of that shape: glmimg edit -i PICTURE --mask MASK. Or do without: --mask ''"
        raise UsageError(str(error), hint if painting.mask else "") from error
    return painting


def _fill(model: type[Model], values: Layer) -> Model:
    names = {each.name for each in knobs(model)}
    return model(**{name: value for name, value in values.items() if name in names})


def check_sources_fit(sources: Sequence[SourceRef], target_cells: int, checkpoint: Checkpoint) -> None:
    """Refuse more sources than the AR half can read, as far as that is known without its tokenizer.

    raises: BadImage (exit 3), says how many fit
    """
    if not sources or checkpoint.context_length is None:
        return
    taken = target_cells + MARKERS
    for number, source in enumerate(sources):
        taken += target_shape(source.height, source.width).cells + MARKERS
        if taken > checkpoint.context_length:
            raise BadImage(
                source.path,
                f"is one source too many: the model reads {checkpoint.context_length} tokens, "
                f"and only {number} of the {len(sources)} sources fit beside the new picture",
                f"Give at most {number} sources, or smaller ones." if number else "Ask for a smaller --size.",
            )
