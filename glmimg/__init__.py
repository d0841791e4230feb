"""glmimg: a command line for GLM-Image, in two stages with a token file between them.

From Python: `with glmimg.load("demo") as model: model.draw("a red circle")`. Importing the package itself imports
nothing heavy; torch comes with the first picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmimg.api import Model, load
    from glmimg.errors import GlmimgError
    from glmimg.image_io import Picture, Provenance, read_provenance
    from glmimg.tokens.dump import TokenDump
    from glmimg.tokens.dump_file import read_dump, write_dump

__version__ = "0.1.0"

__all__ = ["GlmimgError", "Model", "Picture", "Provenance", "TokenDump", "load"]
__all__ += ["read_dump", "read_provenance", "write_dump"]

_HOMES = ("errors", "tokens.dump", "tokens.dump_file", "image_io", "api")
"""The modules of those names, the light ones first."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glmimg' has no attribute {name!r}")
    homes = (import_module(f"glmimg.{home}") for home in _HOMES)
    return next(vars(home)[name] for home in homes if name in vars(home))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
