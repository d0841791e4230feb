"""From what somebody said to a complete job: the checkpoint fills what is still open."""

from __future__ import annotations

from glmimg.errors import UsageError
from glmimg.job import Job, Sampling, Wish, check_prompt, parse_size, random_seed
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.tokens.grid import preview_shape, target_shape


def complete(wish: Wish, checkpoint: Checkpoint) -> Job:
    """The job a wish asks for.

    raises: UsageError, SizeError (exit 2) for an empty prompt or a size no grid can have
    """
    if wish.prompt is None:
        raise UsageError("there is no prompt", "Say what to draw, for example: glmimg t2i 'a red circle'.")
    if wish.steps is None or wish.guidance is None:
        raise UsageError("steps and guidance are not said", "Start from the preset `default`, or pass both.")
    height, width = parse_size(wish.size) if wish.size else checkpoint.default_size
    preview_shape(target_shape(height, width))
    seed = random_seed() if wish.seed is None else wish.seed
    return Job(
        prompt=check_prompt(wish.prompt),
        height=height,
        width=width,
        seed=seed,
        dit_seed=seed if wish.dit_seed is None else wish.dit_seed,
        steps=wish.steps,
        guidance=float(wish.guidance),
        sampling=complete_sampling(wish, checkpoint),
    )


def complete_sampling(wish: Wish, checkpoint: Checkpoint) -> Sampling:
    """How the AR half samples: as said, else as its generation_config says."""
    default = checkpoint.generation_config
    return Sampling(
        temperature=float(default["temperature"] if wish.temperature is None else wish.temperature),
        top_p=float(default["top_p"] if wish.top_p is None else wish.top_p),
        top_k=int(default["top_k"]) or None,
    )
