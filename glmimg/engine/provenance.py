"""How a picture came to be: what its dump says, how it was painted, with what and on what."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from glmimg import __version__
from glmimg.choice import ModelChoice
from glmimg.grid import Role
from glmimg.image_io import Provenance
from glmimg.job import Painting
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from glmimg.runtime.device import Placement

LIBRARIES = ("torch", "transformers", "diffusers")


def provenance_of(
    dump: TokenDump, painting: Painting, grid: Role, placement: Placement, choice: ModelChoice
) -> Provenance:
    """The provenance of a picture painted from a grid of a dump."""
    return Provenance(
        job=dump.job(painting),
        model=dump.model,
        device=placement.device.type,
        dtype=placement.dtype_name,
        versions=versions(),
        beyond=beyond_the_job(dump, painting),
        grid=grid,
        changes=choice.changes,
        choice=choice,
    )


def beyond_the_job(dump: TokenDump, painting: Painting) -> str:
    """What a picture owes to more than its job: a changed dump, tokens left out. Empty for nothing."""
    reasons = []
    if dump.parents:
        reasons.append(f"its tokens were changed ({dump.sampling.method})")
    if painting.drop is not None:
        reasons.append(f"it was painted without the tokens of {painting.drop.region}")
    return " and ".join(reasons)


@cache
def versions() -> dict[str, str]:
    """Version of glmimg and of the libraries its results depend on; `?` for one that is not installed."""
    return {"glmimg": __version__} | {name: _installed(name) for name in LIBRARIES}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
