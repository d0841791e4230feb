"""What the tokens of a dump say: how many codes, how often, in which patches; and whether the grids agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from glmimg.tokens.dump import Grid, TokenDump
from glmimg.tokens.grid import Role

TOP_CODES = 8
DEAD_SHARE = 1 / 16
DEAD_CELLS = 16
"""A connected patch of one code is reported when it has this many cells and this share of the grid."""


@dataclass(frozen=True)
class CodeCount:
    """How often a code stands in a grid. share: 0 to 1."""

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
    """How sure the model was of a grid.

    mean_logprob: nats, <= 0
    perplexity:   exp of its negative: among how many equally likely codes it chose, as it were
    mean_entropy: nats
    least_likely: (row, column) of the token with the lowest log-probability
    """

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
    """How far the target repeats the preview: cells whose code is the preview's at the same place.

    by_chance: the share to expect if the two grids had nothing to do with each other
    """

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
    return DumpStatistics(tuple(describe_grid(grid) for grid in dump.grids), agreement)


def describe_grid(grid: Grid) -> GridStatistics:
    """Count everything worth knowing about one grid."""
    ids = grid.flat()
    counts = Counter(ids)
    return GridStatistics(
        role=grid.role,
        rows=grid.height,
        columns=grid.width,
        distinct=len(counts),
        entropy_bits=entropy_bits(counts),
        most_frequent=tuple(CodeCount(code, count, count / len(ids)) for code, count in counts.most_common(TOP_CODES)),
        longest_run=max(_runs(grid.tokens), key=lambda run: run.length),
        repeated_rows=sum(above == row for above, row in pairwise(grid.tokens)),
        dead_regions=_dead_regions(grid.tokens),
        surprise=_surprise(grid),
    )


def entropy_bits(counts: Counter[int]) -> float:
    """Shannon entropy of frequencies, in bits."""
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())


def compare_grids(preview: Grid, target: Grid) -> Agreement:
    """Share of target cells whose code stands in the preview at their centre."""
    rows = [(2 * row + 1) * preview.height // (2 * target.height) for row in range(target.height)]
    columns = [(2 * column + 1) * preview.width // (2 * target.width) for column in range(target.width)]
    same = sum(
        token == preview.tokens[above][beside]
        for above, row in zip(rows, target.tokens, strict=True)
        for beside, token in zip(columns, row, strict=True)
    )
    cells = target.shape.cells
    in_preview, in_target = Counter(preview.flat()), Counter(target.flat())
    together = sum(count * in_preview[code] for code, count in in_target.items())
    return Agreement(same / cells, together / (cells * preview.shape.cells))


def patches(tokens: Sequence[Sequence[int]]) -> Iterator[Patch]:
    """Every connected patch of one code."""
    rows, columns = len(tokens), len(tokens[0])
    seen = [[False] * columns for _ in range(rows)]
    for start_row in range(rows):
        for start_column in range(columns):
            if seen[start_row][start_column]:
                continue
            code = tokens[start_row][start_column]
            seen[start_row][start_column] = True
            found = [(start_row, start_column)]
            for row, column in found:  # grows while it is walked
                for near_row, near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                    inside = 0 <= near_row < rows and 0 <= near < columns
                    if inside and not seen[near_row][near] and tokens[near_row][near] == code:
                        seen[near_row][near] = True
                        found.append((near_row, near))
            at_rows, at_columns = zip(*found, strict=True)
            bounds = min(at_rows), min(at_columns), max(at_rows), max(at_columns)
            yield Patch(code, len(found), len(found) / (rows * columns), *bounds)


def _dead_regions(tokens: Sequence[Sequence[int]]) -> tuple[Patch, ...]:
    large = (patch for patch in patches(tokens) if patch.cells >= DEAD_CELLS and patch.share >= DEAD_SHARE)
    return tuple(sorted(large, key=lambda patch: -patch.cells))


def _runs(tokens: Sequence[Sequence[int]]) -> Iterator[Run]:
    for number, row in enumerate(tokens):
        column = 0
        for code, equal in groupby(row):
            length = len(list(equal))
            yield Run(code, length, number, column)
            column += length


def _surprise(grid: Grid) -> Surprise | None:
    if grid.logprobs is None:
        return None
    cells = grid.shape.cells
    lowest = min(
        (value, row, column) for row, values in enumerate(grid.logprobs) for column, value in enumerate(values)
    )
    mean = math.fsum(map(math.fsum, grid.logprobs)) / cells
    entropy = None if grid.entropy is None else math.fsum(map(math.fsum, grid.entropy)) / cells
    return Surprise(mean, math.exp(min(-mean, 700.0)), entropy, (lowest[1], lowest[2]))
