"""Parts of a picture as a painting carries them: cells whose tokens are dropped."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from glmimg.knob import FailFast


class DroppedCells(BaseModel):
    """Cells of a target grid, row by row, to be painted as if they had no token, and how they were selected."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    region: str
    cells: Annotated[tuple[Annotated[tuple[bool, ...], FailFast()], ...], FailFast()]
