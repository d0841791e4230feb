"""Configurations of published checkpoints, for planning before 36 GB are downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from glmimg.runtime.checkpoint import Checkpoint
from glmimg.sources.prepare import SourceBounds


@dataclass(frozen=True)
class KnownCheckpoint(Checkpoint):
    """A checkpoint that is not on this machine, but whose shapes are known."""

    def config(self, part: str) -> dict[str, Any]:
        """The known values of one part. Raises KeyError for parts without weights."""
        return dict(_known()[self.id]["parts"][part])

    def parameters(self, part: str) -> dict[str, int]:
        """Parameters of a part by what their names begin with."""
        return dict(_known()[self.id]["parameters"][part])

    @cached_property
    def source_bounds(self) -> SourceBounds:
        """Sizes of source pictures that the AR model's processor leaves unscaled."""
        return SourceBounds.of_pixels(*_known()[self.id]["source_pixels"])


def known_checkpoint(hub_id: str) -> KnownCheckpoint | None:
    """The known shapes of a hub model, None for one that is not known."""
    entry = _known().get(hub_id)
    return KnownCheckpoint(hub_id, Path(hub_id), entry["revision"]) if entry else None


@cache
def _known() -> dict[str, Any]:
    return json.loads((files("glmimg.runtime") / "known_shapes.json").read_bytes())  # type: ignore[no-any-return]
