"""Where two dumps differ: cell by cell, and in what they were asked for."""

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
    def equal(self) -> bool:
        return self.cells_changed == 0

    @property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of the changed cells, the last ones included; None if there are none."""
        if not self.cells_changed or self.changed is None:
            return None
        rows = [number for number, row in enumerate(self.changed) if any(row)]
        columns = [number for number, column in enumerate(zip(*self.changed, strict=True)) if any(column)]
        return rows[0], columns[0], rows[-1], columns[-1]


@dataclass(frozen=True)
class Comparison:
    """Two dumps beside each other.

    fields: name, value in the one, value in the other
    """

    grids: tuple[GridDifference, ...]
    fields: tuple[tuple[str, Any, Any], ...]

    @property
    def equal(self) -> bool:
        """Whether all tokens are the same; what was asked for may differ."""
        return all(grid.equal for grid in self.grids)


def compare_dumps(one: TokenDump, other: TokenDump) -> Comparison:
    """Compare all grids, and everything that was asked for."""
    grids_one, grids_other = _named_grids(one), _named_grids(other)
    names = list(grids_one) + [name for name in grids_other if name not in grids_one]
    facts_one, facts_other = facts(one), facts(other)
    return Comparison(
        tuple(_compare(name, grids_one.get(name), grids_other.get(name)) for name in names),
        tuple((name, facts_one[name], facts_other[name]) for name in facts_one),
    )


def facts(dump: TokenDump) -> dict[str, Any]:
    """What a dump says about itself besides tokens, flat."""
    sampling = dump.sampling
    return {
        "prompt": dump.prompt,
        "size": f"{dump.width}x{dump.height}",
        "seed": dump.seed,
        "model": dump.model.id,
        "revision": dump.model.revision,
        "fingerprint": dump.model.fingerprint,
        "codebook": dump.model.codebook_size,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "method": sampling.method,
        "sources": [f"{source.path} {source.sha256[:8]}" for source in dump.sources],
        "parents": [f"{parent.role} {parent.path} {parent.sha256[:8]}" for parent in dump.parents],
        "glmimg": dump.glmimg,
    }


def _named_grids(dump: TokenDump) -> dict[str, Grid]:
    sources = {f"source {number}": source.grid for number, source in enumerate(dump.sources, start=1)}
    return {grid.role: grid for grid in dump.grids} | sources


def _compare(name: str, one: Grid | None, other: Grid | None) -> GridDifference:
    shapes = (None if one is None else one.shape, None if other is None else other.shape)
    if one is None or other is None or one.shape != other.shape:
        return GridDifference(name, shapes, None)
    changed = tuple(
        tuple(here != there for here, there in zip(*rows, strict=True))
        for rows in zip(one.tokens, other.tokens, strict=True)
    )
    return GridDifference(name, shapes, changed)
