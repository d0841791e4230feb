"""Jobs, samplings, paintings and desks in a line, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from glmimg.choice import ModelChoice
from glmimg.engine.engine import Engine
from glmimg.engine.orders import Desk
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.events import Watch, unwatched
from glmimg.job import Job, Painting, Sampling, Scene, Size, SourceRef
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.sources import SourceShelf


def make_sampling(**knobs: Any) -> Sampling:
    """A sampling; by default it cuts nothing off."""
    return Sampling(**{"seed": 0, "temperature": 1.0, "top_p": 1.0} | knobs)


def make_painting(dit_seed: int, steps: int, guidance: float, **knobs: Any) -> Painting:
    """How stage 2 paints."""
    return Painting(dit_seed=dit_seed, steps=steps, guidance=guidance, **knobs)


TINY_SAMPLING = make_sampling(temperature=0.9, top_p=0.75, top_k=80)
"""As the tiny checkpoint's generation_config has it."""


def make_job(
    prompt: str = "a tree",
    *,
    height: int = 64,
    width: int = 64,
    seed: int = 4,
    dit_seed: int | None = None,
    sampling: Sampling = TINY_SAMPLING,
    sources: tuple[SourceRef, ...] = (),
    **painting: Any,
) -> Job:
    """A job; painting: knobs of `Painting`, by default two guided steps."""
    return Job(
        scene=Scene(prompt=prompt, size=Size(height, width), sources=sources),
        sampling=sampling.model_copy(update={"seed": seed}),
        painting=Painting(
            **{"dit_seed": seed if dit_seed is None else dit_seed, "steps": 2, "guidance": 1.5} | painting
        ),
    )


def with_sources(job: Job, sources: tuple[SourceRef, ...]) -> Job:
    """The same job as an edit of other pictures."""
    return job.model_copy(update={"scene": job.scene.model_copy(update={"sources": sources})})


def make_desk(
    checkpoint: Checkpoint,
    choice: ModelChoice = ModelChoice(),
    *,
    shelf: SourceShelf | None = None,
    watch: Watch = unwatched,
    size: tuple[int, int] = (128, 192),
) -> Desk:
    """A desk for pictures up to `size`, with source pictures or without."""
    shelf = shelf or SourceShelf()
    stages = CheckpointStages(checkpoint, choice, shelf)
    return Desk(Engine(stages, Scope(*size, sources=(size,)), watch), shelf)
