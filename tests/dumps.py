"""Dumps made by hand, for tests that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glmimg.grid import preview_shape, target_shape
from glmimg.tokens.dump import Grid, ModelRef, SamplingRecord, Stats, TokenDump


def grid(role: Any, rows: Sequence[Sequence[int]], **more: Any) -> Grid:
    """A grid of the given rows."""
    return Grid(role=role, height=len(rows), width=len(rows[0]), tokens=[list(row) for row in rows], **more)


def dump(target: Sequence[Sequence[int]], preview: int | Sequence[Sequence[int]] = 0, **more: Any) -> TokenDump:
    """A dump with this target; `preview` is its grid, or the one code it is filled with."""
    height, width = 32 * len(target), 32 * len(target[0])
    rows, columns = preview_shape(target_shape(height, width))
    above = [[preview] * columns] * rows if isinstance(preview, int) else preview
    fields: dict[str, Any] = dict(
        prompt="a red circle",
        height=height,
        width=width,
        seed=1,
        grids=[grid("preview", above), grid("target", target)],
        model=ModelRef(id="demo", revision=None, codebook_size=100, fingerprint="aaaa-bbbb"),
        sampling=SamplingRecord(temperature=0.9, top_p=0.75),
        stats=Stats(seconds=1.0, tokens=4, forward_passes=4),
        glmimg="0.1.0",
    )
    return TokenDump(**(fields | more))
