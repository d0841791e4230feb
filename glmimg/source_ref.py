"""Which file a source picture of an edit is, apart from jobs: a token dump names its sources the same way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from glmimg.tokens.grid import CELL_PX

Fit = Literal["pad", "crop"]


class SourceRef(BaseModel):
    """A source picture of an edit: which file it is, and how it becomes the picture both stages read.

    path:          as it was given
    sha256:        of the file's bytes
    height, width: of the prepared picture in pixels, multiples of 32; the file's own may be others
    fit:           how an aspect the model cannot read was changed; None if it needed no change
    background:    colour under transparent and around padded pixels, `#rrggbb`
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    height: Annotated[int, Field(ge=CELL_PX, multiple_of=CELL_PX)]
    width: Annotated[int, Field(ge=CELL_PX, multiple_of=CELL_PX)]
    fit: Fit | None = None
    background: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] = "#ffffff"
