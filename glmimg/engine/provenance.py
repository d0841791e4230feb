"""The provenance of a picture: its dump, how it was painted, with which weights and on which device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from glmimg import __version__
from glmimg.choice import ModelChoice
from glmimg.grid import Role
from glmimg.image_io import Provenance
from glmimg.job import Painting
from glmimg.tokens.dump import TokenDump


def provenance_of(
    dump: TokenDump,
    painting: Painting,
    grid: Role,
    device: str,
    dtype: str,
    choice: ModelChoice,
    distrusted: Sequence[str] = (),
) -> Provenance:
    """The provenance of a picture painted from a grid of a dump, on a kind of device (`cuda`) in a precision."""
    beyond = [f"its tokens were changed ({dump.sampling.method})"] if dump.parents else []
    beyond += [f"it was painted without the tokens of {painting.drop.region}"] if painting.drop else []
    return Provenance(
        job=dump.job(painting),
        model=dump.model,
        device=device,
        dtype=dtype,
        versions=versions(),
        beyond=" and ".join(beyond),
        grid=grid,
        changes=choice.changes,
        choice=choice,
        distrusted=list(distrusted),
    )


@cache
def versions() -> dict[str, str]:
    """Version of glmimg and of the libraries its results depend on; `?` for one that is not installed."""
    found = {"glmimg": __version__}
    for name in ("torch", "transformers", "diffusers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "?"
    return found
