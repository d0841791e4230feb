"""What dumps and pictures say about how they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmimg.engine.versions import versions
from glmimg.image_io import Making
from glmimg.job import Job, PaintSettings, Sampling
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from glmimg.engine.local import PaintOrder
    from glmimg.runtime.device import Placement


def with_changes(dump: TokenDump, changes: list[str]) -> TokenDump:
    """A dump that says what its model's weights were changed by."""
    return dump.model_copy(update={"model": dump.model.model_copy(update={"changes": changes})}) if changes else dump


def making_of(order: PaintOrder, placement: Placement, changes: list[str]) -> Making:
    """How a picture comes to be that is painted as `order` says.

    changes: what the model's weights were changed by
    """
    return Making(
        job=painted_job(order.dump, order.settings),
        model=order.dump.model,
        device=placement.device.type,
        dtype=placement.dtype_name,
        versions=versions(),
        beyond=beyond_the_job(order),
        grid=order.grid,
        changes=changes,
    )


def painted_job(dump: TokenDump, settings: PaintSettings) -> Job:
    """The whole job a picture is made by: what its dump says and how it is painted."""
    return Job(
        prompt=dump.prompt,
        height=dump.height,
        width=dump.width,
        seed=dump.seed,
        dit_seed=settings.seed,
        steps=settings.steps,
        guidance=settings.guidance,
        guidance_window=settings.guidance_window,
        scheduler=settings.scheduler,
        cache=settings.cache,
        guidance_batch=settings.guidance_batch,
        sampling=sampling_of(dump),
        sources=tuple(source.ref for source in dump.sources),
    )


def beyond_the_job(order: PaintOrder) -> str:
    """What a picture owes to more than its job: a changed dump, tokens left out. Empty for nothing."""
    said = []
    if order.dump.parents:
        said.append(f"its tokens were changed ({order.dump.sampling.method})")
    if order.settings.dropped is not None:
        said.append(f"it was painted without the tokens of {order.settings.dropped.said}")
    return " and ".join(said)


def sampling_of(dump: TokenDump) -> Sampling:
    """How to draw the tokens of a dump again."""
    record = dump.sampling
    jacobi = record.method == "jacobi"
    return Sampling(
        temperature=record.temperature,
        top_p=record.top_p,
        top_k=record.top_k,
        method="jacobi" if jacobi else "sequential",
        window=record.window if jacobi else None,
    )
