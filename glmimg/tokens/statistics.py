"""Statistics of a dump's tokens: code counts, frequencies, patches, and whether the grids agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from glmimg.grid import Role
from glmimg.tokens.dump import Grid, TokenDump

TOP_CODES = 8
DEAD_SHARE, DEAD_CELLS = 1 / 16, 16
"""A connected patch of one code is reported when it has this share of the grid and this many cells."""


@dataclass(frozen=True)
class CodeCount:
    """How often a code occurs in a grid. share: 0 to 1."""

    code: int
    cells: int
    share: float


@dataclass(frozen=True)
class Run:
    """Equal codes side by side in one row, from (row, column) on."""

    code: int
    length: int
    row: int
    column: int


@dataclass(frozen=True)
class Patch:
    """A connected patch (by sides) of one code; the bounds are cells, the last ones included."""

    code: int
    cells: int
    share: float
    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Surprise:
    """How sure the model was of a grid, in nats. perplexity: exp(-mean_logprob); least_likely: (row, column)."""

    mean_logprob: float
    perplexity: float
    mean_entropy: float | None
    least_likely: tuple[int, int]


@dataclass(frozen=True)
class GridStatistics:
    """One grid in numbers.

    entropy_bits:  of the codes' frequencies; 0 for a single code, log2(distinct) if all are equally frequent
    repeated_rows: rows that equal the row above
    dead_regions:  large patches of a single code, largest first: flat background, or a model that got stuck
    """

    role: Role
    rows: int
    columns: int
    distinct: int
    entropy_bits: float
    most_frequent: tuple[CodeCount, ...]
    longest_run: Run
    repeated_rows: int
    dead_regions: tuple[Patch, ...]
    surprise: Surprise | None


@dataclass(frozen=True)
class Agreement:
    """Share of target cells with the preview's code at the same place, and the share to expect by chance."""

    share: float
    by_chance: float


@dataclass(frozen=True)
class DumpStatistics:
    """All grids of a dump in numbers; agreement is None where preview or target is missing."""

    grids: tuple[GridStatistics, ...]
    agreement: Agreement | None


def describe(dump: TokenDump) -> DumpStatistics:
    """Count everything worth knowing about a dump's grids."""
    agreement = compare_grids(dump.preview, dump.target) if dump.preview and dump.has_target else None
    return DumpStatistics(tuple(map(describe_grid, dump.grids)), agreement)


def describe_grid(grid: Grid) -> GridStatistics:
    """Count everything worth knowing about one grid."""
    counts, cells = Counter(grid.flat()), grid.shape.cells
    return GridStatistics(
        role=grid.role,
        rows=grid.height,
        columns=grid.width,
        distinct=len(counts),
        entropy_bits=sum(count / cells * math.log2(cells / count) for count in counts.values()),
        most_frequent=tuple(CodeCount(code, count, count / cells) for code, count in counts.most_common(TOP_CODES)),
        longest_run=_longest_run(grid.tokens),
        repeated_rows=sum(above == row for above, row in pairwise(grid.tokens)),
        dead_regions=_dead_regions(grid.tokens, counts),
        surprise=_surprise(grid),
    )


def compare_grids(preview: Grid, target: Grid) -> Agreement:
    """Share of target cells whose code stands in the preview at their centre."""
    rows = [(2 * row + 1) * preview.height // (2 * target.height) for row in range(target.height)]
    columns = [(2 * column + 1) * preview.width // (2 * target.width) for column in range(target.width)]
    beside = [preview.tokens[row][column] for row in rows for column in columns]
    codes, cells = target.flat(), target.shape.cells
    in_preview = Counter(preview.flat())
    same = sum(code == other for code, other in zip(codes, beside, strict=True))
    return Agreement(same / cells, sum(in_preview[code] for code in codes) / (cells * preview.shape.cells))


def patches(tokens: Sequence[Sequence[int]], codes: Collection[int]) -> Iterator[Patch]:
    """Every connected patch of one of the codes."""
    rows, columns = len(tokens), len(tokens[0])
    stride = columns + 1  # cells are numbered with a gap after each row, so that row ends are not neighbours
    cells = {row * stride + column: token for row, line in enumerate(tokens) for column, token in enumerate(line)}
    for code in codes:
        left = {cell for cell, token in cells.items() if token == code}
        while left:
            found = [left.pop()]
            for cell in found:  # grows during the loop
                near = left.intersection((cell - stride, cell + stride, cell - 1, cell + 1))
                left -= near
                found += near
            at_columns = [cell % stride for cell in found]
            bounds = min(found) // stride, min(at_columns), max(found) // stride, max(at_columns)
            yield Patch(code, len(found), len(found) / (rows * columns), *bounds)


def _dead_regions(tokens: Sequence[Sequence[int]], counts: Counter[int]) -> tuple[Patch, ...]:
    least = max(DEAD_CELLS, math.ceil(DEAD_SHARE * counts.total()))
    frequent = [code for code, count in counts.items() if count >= least]  # no other code can fill a patch
    large = (patch for patch in patches(tokens, frequent) if patch.cells >= least)
    return tuple(sorted(large, key=lambda patch: (-patch.cells, patch.top, patch.left)))


def _longest_run(tokens: Sequence[Sequence[int]]) -> Run:
    runs = []
    for row, line in enumerate(tokens):
        for code, cells in groupby(enumerate(line), key=lambda cell: cell[1]):
            columns = [column for column, _ in cells]
            runs.append(Run(code, len(columns), row, columns[0]))
    return max(runs, key=lambda run: run.length)


def _surprise(grid: Grid) -> Surprise | None:
    if grid.logprobs is None:
        return None
    cells = grid.shape.cells
    logprobs = [value for row in grid.logprobs for value in row]
    mean = math.fsum(logprobs) / cells
    entropy = None if grid.entropy is None else math.fsum(map(math.fsum, grid.entropy)) / cells
    least_likely = divmod(logprobs.index(min(logprobs)), grid.width)
    return Surprise(mean, math.exp(min(-mean, 700.0)), entropy, least_likely)
