"""How two dumps differ: cell by cell, and in their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glmimg.grid import GridShape
from glmimg.tokens.dump import Grid, TokenDump


@dataclass(frozen=True)
class GridDifference:
    """One grid in two dumps.

    name:    the role, with a number for sources
    shapes:  of each dump's grid, None where it has none
    changed: rows of flags, True where the codes differ; None where the shapes do
    """

    name: str
    shapes: tuple[GridShape | None, GridShape | None]
    changed: tuple[tuple[bool, ...], ...] | None

    @property
    def cells_changed(self) -> int | None:
        return None if self.changed is None else sum(map(sum, self.changed))

    @property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of the changed cells, the last ones included; None if there are none."""
        flags = self.changed or ()
        rows = [number for number, row in enumerate(flags) if any(row)]
        columns = [number for number, column in enumerate(zip(*flags, strict=True)) if any(column)]
        return (rows[0], columns[0], rows[-1], columns[-1]) if rows else None


@dataclass(frozen=True)
class Comparison:
    """A comparison of two dumps. fields: name, value in the first, value in the second."""

    grids: tuple[GridDifference, ...]
    fields: tuple[tuple[str, Any, Any], ...]

    @property
    def equal(self) -> bool:
        """Whether all tokens are the same; the settings may differ."""
        return all(grid.cells_changed == 0 for grid in self.grids)


def compare_dumps(one: TokenDump, other: TokenDump) -> Comparison:
    """Compare all grids and all settings."""
    grids, grids_other, said, said_other = _named_grids(one), _named_grids(other), facts(one), facts(other)
    return Comparison(
        tuple(_compare(name, grids.get(name), grids_other.get(name)) for name in grids | grids_other),
        tuple((name, said[name], said_other[name]) for name in said),
    )


def facts(dump: TokenDump) -> dict[str, Any]:
    """What a dump says about itself besides tokens, flat."""
    return {
        "prompt": dump.prompt,
        "size": str(dump.size),
        "seed": dump.seed,
        "model": dump.model.id,
        "revision": dump.model.revision,
        "fingerprint": dump.model.fingerprint,
        "codebook": dump.model.codebook_size,
        **dump.sampling.model_dump(exclude={"window"}),
        "sources": [f"{source.path} {source.sha256[:8]}" for source in dump.sources],
        "parents": [f"{parent.role} {parent.path} {parent.sha256[:8]}" for parent in dump.parents],
        "glmimg": dump.glmimg,
    }


def _named_grids(dump: TokenDump) -> dict[str, Grid]:
    sources = {f"source {number}": source.grid for number, source in enumerate(dump.sources, start=1)}
    return {grid.role: grid for grid in dump.grids} | sources


def _compare(name: str, one: Grid | None, other: Grid | None) -> GridDifference:
    shapes = (one.shape if one else None, other.shape if other else None)
    if one is None or other is None or one.shape != other.shape:
        return GridDifference(name, shapes, None)
    pairs = zip(one.tokens, other.tokens, strict=True)
    return GridDifference(name, shapes, tuple(tuple(a != b for a, b in zip(*rows, strict=True)) for rows in pairs))
