"""Where other programs reach the stages, and how much they may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from glmimg.job import Positive, Size, parse_size
from glmimg.knob import Knob, Settings

SERVER = "The server"
"""Panel of the help page."""


class Serving(Settings):
    """How the stages are served."""

    http: Annotated[str, Knob("Where to listen; port 0 is any free one.", SERVER, "HOST:PORT", env=False)] = (
        "127.0.0.1:8000"
    )
    mcp: Annotated[bool, Knob("Speak MCP over standard input and output instead.", SERVER, env=False)] = False
    api_key_file: Annotated[str | None, Knob("A file with the key that clients must send.", SERVER, "PATH")] = None
    max_size: Annotated[
        Size | None,
        BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value),
        Knob("The largest picture.", SERVER, "WxH", "twice the model's own width and height", rare=True),
    ] = None
    max_pictures: Annotated[Positive, Knob("Pictures a request may ask for.", SERVER, "N", rare=True)] = 10
    max_body: Annotated[Positive, Knob("Megabytes a request may send.", SERVER, "MB", rare=True)] = 64
    max_seconds: Annotated[
        Annotated[float, Field(gt=0)], Knob("After which an unfinished request is given up.", SERVER, "S", rare=True)
    ] = 1800
    max_waiting: Annotated[Positive, Knob("Pictures that may wait at once.", SERVER, "N", rare=True)] = 500

    @property
    def body_bytes(self) -> int:
        """The largest body in bytes."""
        return self.max_body * 1_000_000
