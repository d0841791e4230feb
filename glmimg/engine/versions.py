"""Which versions made a picture."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from glmimg import __version__

LIBRARIES = ("torch", "transformers", "diffusers")


@cache
def versions() -> dict[str, str]:
    """Version of glmimg and of the libraries its results depend on; `?` for one that is not installed."""
    return {"glmimg": __version__} | {name: _installed(name) for name in LIBRARIES}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
