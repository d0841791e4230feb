"""glmimg: the command line for GLM-Image, in two stages with a token file between them.

From Python: `with glmimg.load("demo") as model: model.draw("a red circle")`. Importing the package itself imports
nothing heavy; torch comes with the first picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmimg.api import Model, load
    from glmimg.errors import GlmimgError
    from glmimg.image_io import Picture, Provenance, read_provenance
    from glmimg.tokens.dump import TokenDump
    from glmimg.tokens.dump_file import read_dump, write_dump

__version__ = "0.1.0"

_HOMES = {
    "Model": "glmimg.api",
    "load": "glmimg.api",
    "GlmimgError": "glmimg.errors",
    "Picture": "glmimg.image_io",
    "Provenance": "glmimg.image_io",
    "read_provenance": "glmimg.image_io",
    "TokenDump": "glmimg.tokens.dump",
    "read_dump": "glmimg.tokens.dump_file",
    "write_dump": "glmimg.tokens.dump_file",
}

__all__ = [
    "GlmimgError",
    "Model",
    "Picture",
    "Provenance",
    "TokenDump",
    "load",
    "read_dump",
    "read_provenance",
    "write_dump",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'glmimg' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
