"""From what somebody said to a complete job: the checkpoint fills what is still open."""

from __future__ import annotations

from collections.abc import Sequence

from glmimg.errors import BadImage, UsageError
from glmimg.job import Job, PaintSettings, Sampling, SourceRef, Wish, check_prompt, parse_size, random_seed
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.tokens.grid import GridShape, preview_shape, target_shape

MARKERS = 2
"""Tokens around a source's codes: image start and image end."""


def complete(wish: Wish, checkpoint: Checkpoint, sources: Sequence[SourceRef] = ()) -> Job:
    """The job a wish asks for. An edit is as large as its first source unless the wish says a size.

    raises: UsageError, SizeError (exit 2) for an empty prompt or a size no grid can have;
            BadImage (exit 3) for more sources than fit the model's context
    """
    if wish.prompt is None:
        raise UsageError("there is no prompt", "Say what to draw, for example: glmimg t2i 'a red circle'.")
    default = (sources[0].height, sources[0].width) if sources else checkpoint.default_size
    height, width = parse_size(wish.size) if wish.size else default
    target = target_shape(height, width)
    if sources:
        check_sources_fit(sources, target.cells, checkpoint)
    else:
        preview_shape(target)
    check_window(wish.ar_window, target if sources else max(target, preview_shape(target), key=lambda grid: grid.cells))
    seed = random_seed() if wish.seed is None else wish.seed
    painting = PaintSettings.of(wish, seed)
    return Job(
        prompt=check_prompt(wish.prompt),
        height=height,
        width=width,
        seed=seed,
        dit_seed=painting.seed,
        steps=painting.steps,
        guidance=painting.guidance,
        guidance_window=painting.guidance_window,
        scheduler=painting.scheduler,
        cache=painting.cache,
        guidance_batch=painting.guidance_batch,
        sampling=complete_sampling(wish, checkpoint),
        sources=tuple(sources),
    )


def check_sources_fit(sources: Sequence[SourceRef], target_cells: int, checkpoint: Checkpoint) -> None:
    """Refuse more sources than the AR half can read, as far as that is known without its tokenizer.

    raises: BadImage (exit 3), says how many fit
    """
    if checkpoint.context_length is None:
        return
    taken = target_cells + MARKERS
    for number, source in enumerate(sources):
        taken += target_shape(source.height, source.width).cells + MARKERS
        if taken > checkpoint.context_length:
            raise BadImage(
                source.path,
                f"is one source too many: the model reads {checkpoint.context_length} tokens, "
                f"and {number} of the {len(sources)} sources fit beside the new picture",
                f"Give at most {number} sources, or smaller ones." if number else "Ask for a smaller --size.",
            )


def check_window(window: int | None, largest: GridShape) -> None:
    """Refuse drafting more tokens than the largest grid has. Raises UsageError (exit 2)."""
    if window is not None and window > largest.cells:
        raise UsageError(
            f"--ar-window {window} is larger than the grid of {largest.cells} tokens",
            "Leave it out, or try --ar-window 16.",
        )


def complete_sampling(wish: Wish, checkpoint: Checkpoint) -> Sampling:
    """How the AR half samples: as said, else as its generation_config says."""
    default = checkpoint.generation_config
    return Sampling(
        temperature=float(default["temperature"] if wish.temperature is None else wish.temperature),
        top_p=float(default["top_p"] if wish.top_p is None else wish.top_p),
        top_k=int(default["top_k"]) or None,
        method=wish.ar_method or "sequential",
        window=wish.ar_window,
    )
