"""glmimg: the command line for GLM-Image, in two stages with a token file between them.

From Python: `from glmimg import draw, write_tokens, paint, read_dump, write_dump`. Importing the
package itself imports nothing heavy; torch comes with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmimg.api import draw, paint, write_tokens
    from glmimg.errors import GlmimgError
    from glmimg.image_io import Picture, encode_png, read_provenance
    from glmimg.tokens.dump import TokenDump
    from glmimg.tokens.dump_file import read_dump, write_dump

__version__ = "0.1.0"

_HOMES = {
    "draw": "glmimg.api",
    "paint": "glmimg.api",
    "write_tokens": "glmimg.api",
    "GlmimgError": "glmimg.errors",
    "Picture": "glmimg.image_io",
    "encode_png": "glmimg.image_io",
    "read_provenance": "glmimg.image_io",
    "TokenDump": "glmimg.tokens.dump",
    "read_dump": "glmimg.tokens.dump_file",
    "write_dump": "glmimg.tokens.dump_file",
}

__all__ = [
    "GlmimgError",
    "Picture",
    "TokenDump",
    "draw",
    "encode_png",
    "paint",
    "read_dump",
    "read_provenance",
    "write_dump",
    "write_tokens",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'glmimg' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
