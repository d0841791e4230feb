"""The terminal output of `inspect`: tables, and grids drawn in half-block characters."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table
from rich.text import Text

from glmimg.cli.made import facts_table
from glmimg.text import excerpt
from glmimg.tokens.compare import Comparison, GridDifference, facts
from glmimg.tokens.palette import ColourGrid, change_colours, code_colour, code_colours, heat_colours
from glmimg.tokens.statistics import DumpStatistics, GridStatistics, Patch

if TYPE_CHECKING:
    from glmimg.tokens.checks import Check
    from glmimg.tokens.dump import Grid, TokenDump

HALF = "▀"
"""Its upper half is drawn in the foreground colour, its lower half in the background's: two cells a character."""

MARKS = {"ok": ("✓", "+", "green"), "failed": ("✗", "x", "bold red"), "unchecked": ("?", "?", "yellow")}
"""The sign of a check, the same in ASCII, and its style."""

TEXT_COLUMNS = 76
"""Columns that the tables beside a grid need."""


def show_dump(dump: TokenDump, checks: Sequence[Check], statistics: DumpStatistics, console: Console) -> RenderableType:
    """Show one dump: what it is of, its checks and statistics, and on a terminal its grids beside them."""
    words = Group(_facts_table(dump), Text(""), _checks_table(checks, console), Text(""), *_statistics(statistics))
    views = [_grid_view(grid, console) for grid in reversed(dump.grids)] if console.is_terminal else []
    return _beside(words, views, dump.grids[-1].width, console)


def show_comparison(
    one: TokenDump, other: TokenDump, names: tuple[str, str], comparison: Comparison, console: Console
) -> RenderableType:
    """Show two dumps: their settings side by side, counts, and a map of the changed cells."""
    table = Table("", excerpt(names[0]), excerpt(names[1]), box=None, pad_edge=False)
    for name, here, there in comparison.fields:
        if here or there:
            style = "bold" if here != there else "dim"
            table.add_row(name, Text(_say(here)), Text(_say(there)), style=style)
    lines = [Text(_say_difference(difference)) for difference in comparison.grids]
    grid = other.grids[-1]
    changed = next(each for each in comparison.grids if each.name == grid.role)
    maps = [_change_view(changed, grid, console)] if changed.cells_changed else []
    return _beside(Group(table, Text(""), *lines), maps, grid.width, console)


def show_table(rows: Sequence[tuple[str, TokenDump, DumpStatistics, str]], console: Console) -> Table:
    """Show many dumps, one per line: (name, dump, statistics, digest of the tokens).

    Figures are never cut: a narrow terminal gets fewer columns, and names and prompts share the remaining space.
    """
    figures = {heading: [say(*row[1:]) for row in rows] for heading, say in FIGURES.items()}
    shown = {heading: cells for heading, cells in figures.items() if any(cells)}
    for heading in EXPENDABLE:
        taken = sum(max(map(len, [name, *cells])) + 2 for name, cells in shown.items())
        if taken + WORDS_COLUMNS > console.width:
            shown.pop(heading, None)
    table = Table("dump", box=None, pad_edge=False)
    for heading in shown:
        table.add_column(heading, no_wrap=True)
    table.add_column("prompt")
    for number, (name, dump, *_) in enumerate(rows):
        prompt = Text(excerpt(dump.prompt, 60), no_wrap=True, overflow="ellipsis")
        table.add_row(Text(excerpt(name)), *(Text(cells[number]) for cells in shown.values()), prompt)
    return table


def _say_surprise(_: TokenDump, statistics: DumpStatistics, __: str) -> str:
    surprise = statistics.grids[-1].surprise
    return f"{surprise.mean_logprob:.2f}" if surprise else ""


def _say_largest(_: TokenDump, statistics: DumpStatistics, __: str) -> str:
    regions = statistics.grids[-1].dead_regions
    return f"{regions[0].share:.0%}" if regions else ""


FIGURES: dict[str, Callable[[TokenDump, DumpStatistics, str], str]] = {
    "size": lambda dump, _, __: f"{dump.width}x{dump.height}",
    "seed": lambda dump, _, __: str(dump.seed),
    "codes": lambda _, statistics, __: str(statistics.grids[-1].distinct),
    "bits": lambda _, statistics, __: f"{statistics.grids[-1].entropy_bits:.2f}",
    "largest": _say_largest,
    "surprise": _say_surprise,
    "tokens": lambda _, __, digest: digest[:8],
}
"""The columns between a dump's name and its prompt, those left out that no dump has anything for."""

EXPENDABLE = ("bits", "largest", "codes", "tokens", "surprise", "seed", "size")
"""The same columns, in the order in which a narrow terminal drops them."""

WORDS_COLUMNS = 40
"""What a name and a prompt need side by side."""


def dump_fields(dump: TokenDump, checks: Sequence[Check], statistics: DumpStatistics) -> dict[str, Any]:
    """One dump as `--json` reports it: everything but the tokens themselves."""
    fields = dump.model_dump(exclude={"grids": True, "sources": {"__all__": {"grid", "embedded"}}})
    fields["checks"] = [asdict(check) for check in checks]
    fields["sound"] = not any(check.state == "failed" for check in checks)
    return fields | asdict(statistics)


def comparison_fields(names: tuple[str, str], comparison: Comparison) -> dict[str, Any]:
    """Two dumps as `--json` reports them."""
    return {
        "dumps": names,
        "equal": comparison.equal,
        "grids": [
            {
                "grid": each.name,
                "shapes": each.shapes,
                "changed": each.cells_changed,
                "bounds": each.bounds,
                "cells": [[r, c] for r, row in enumerate(each.changed or ()) for c, flag in enumerate(row) if flag],
            }
            for each in comparison.grids
        ],
        "fields": {name: [here, there] for name, here, there in comparison.fields if here != there},
    }


def draw_colours(colours: ColourGrid, max_columns: int) -> Segments:
    """A colour grid in half blocks, two rows a line; cells are left out where it is too wide for the terminal."""
    step = -(-len(colours[0]) // max_columns)
    rows = [row[::step] for row in colours[::step]]
    styles: dict[tuple[Any, Any], Style] = {}
    segments = []
    for top in range(0, len(rows), 2):
        below = rows[top + 1] if top + 1 < len(rows) else [None] * len(rows[top])
        for pair in zip(rows[top], below, strict=True):
            style = styles.get(pair)
            if style is None:
                style = styles[pair] = Style(
                    color=Color.from_rgb(*pair[0]), bgcolor=None if pair[1] is None else Color.from_rgb(*pair[1])
                )
            segments.append(Segment(HALF, style))
        segments.append(Segment.line())
    return Segments(segments)


def letters(tokens: Sequence[Sequence[int]]) -> str:
    """Rows of codes as text, for terminals without colour: a dot for the commonest, letters for the next."""
    ranked = [code for code, _ in Counter(token for row in tokens for token in row).most_common()]
    signs = dict(zip(ranked, "·" + string.ascii_letters, strict=False))
    return "\n".join("".join(signs.get(token, "?") for token in row) for row in tokens)


def _grid_view(grid: Grid, console: Console) -> RenderableType:
    title = Text(f"{grid.role} {grid.height}x{grid.width}", style="bold")
    if console.no_color:
        return Group(title, Text(letters(grid.tokens), no_wrap=True))
    drawn: list[RenderableType] = [title, draw_colours(code_colours(grid.tokens), console.width)]
    if grid.logprobs is not None:
        high = max(-min(map(min, grid.logprobs)), 1e-9)
        heat = heat_colours([[-value for value in row] for row in grid.logprobs], high)
        drawn += [Text(f"surprise, 0 to {high:.1f} nats", style="bold"), draw_colours(heat, console.width)]
    return Group(*drawn)


def _change_view(difference: GridDifference, grid: Grid, console: Console) -> RenderableType:
    changed = difference.changed or ()
    title = Text(f"changed cells of the {grid.role}", style="bold")
    if console.is_terminal and not console.no_color:
        return Group(title, draw_colours(change_colours(grid.tokens, changed), console.width))
    lines = ("".join(".#"[flag] for flag in row) for row in changed)
    return Group(title, Text("\n".join(lines), no_wrap=True))


def _beside(words: RenderableType, views: Sequence[RenderableType], columns: int, console: Console) -> RenderableType:
    """Text on the left, grids on the right if the terminal is wide enough, else below."""
    if not views:
        return words
    if not console.is_terminal or console.width < TEXT_COLUMNS + columns + 2:
        return Group(words, Text(""), *views)
    layout = Table.grid(padding=(0, 2, 0, 0))
    layout.add_row(words, Group(*views))
    return layout


def _facts_table(dump: TokenDump) -> Table:
    stats = dump.stats
    took = f" in {stats.seconds:g} s" if stats.seconds else ""
    drawn = {"drawn": f"{stats.tokens} tokens{took}, {stats.forward_passes} passes"}
    return facts_table({name: _say(value) for name, value in facts(dump).items()} | drawn)


def _checks_table(checks: Sequence[Check], console: Console) -> Table:
    table = Table("state", "check", "detail", box=None, pad_edge=False, show_header=False)
    for check in checks:
        mark, plain, style = MARKS[check.state]
        table.add_row(
            Text(plain if console.options.ascii_only else mark, style=style), check.name, Text(excerpt(check.detail))
        )
    return table


def _statistics(statistics: DumpStatistics) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for grid in reversed(statistics.grids):
        shown += [Text(f"{grid.role} {grid.rows}x{grid.columns}", style="bold"), _grid_table(grid)]
    if (agreement := statistics.agreement) is not None:
        by_chance = f"({agreement.by_chance:.1%} by chance)"
        shown.append(Text(f"preview and target: {agreement.share:.1%} of the cells have the same code {by_chance}"))
    return shown


def _grid_table(grid: GridStatistics) -> Table:
    table = Table("name", "value", box=None, pad_edge=False, show_header=False)
    table.add_row("codes", f"{grid.distinct} distinct, {grid.entropy_bits:.2f} bits")
    frequent = Text()
    for each in grid.most_frequent[:5]:
        red, green, blue = code_colour(each.code)
        frequent.append("■ ", style=Style(color=Color.from_rgb(red, green, blue)))
        frequent.append(f"{each.code} {each.share:.0%}  ")
    table.add_row("most frequent", frequent)
    run = grid.longest_run
    table.add_row("longest run", f"{run.length} of {run.code} from row {run.row}, column {run.column}")
    table.add_row("repeated rows", f"{grid.repeated_rows} of {grid.rows}")
    regions = ", ".join(map(_say_patch, grid.dead_regions[:3])) or "none"
    table.add_row("dead regions", regions)
    if (surprise := grid.surprise) is not None:
        row, column = surprise.least_likely
        entropy = "" if surprise.mean_entropy is None else f", entropy {surprise.mean_entropy:.2f} nats"
        table.add_row(
            "surprise",
            f"{surprise.mean_logprob:.2f} nats per token, perplexity {surprise.perplexity:.2f}{entropy}; "
            f"highest at row {row}, column {column}",
        )
    return table


def _say_patch(patch: Patch) -> str:
    rows, columns = f"rows {patch.top}-{patch.bottom}", f"columns {patch.left}-{patch.right}"
    return f"{patch.share:.0%} is {patch.code} ({rows}, {columns})"


def _say_difference(difference: GridDifference) -> str:
    name, changed, bounds = difference.name, difference.cells_changed, difference.bounds
    if changed is None:
        shapes = [f"{shape.rows}x{shape.columns}" if shape else "missing" for shape in difference.shapes]
        return f"{name}: {shapes[0]} against {shapes[1]}"
    cells = len(difference.changed or ()) * len((difference.changed or ((),))[0])
    if bounds is None:
        return f"{name}: all {cells} cells equal"
    top, left, bottom, right = bounds
    return f"{name}: {changed} of {cells} cells differ, within rows {top}-{bottom}, columns {left}-{right}"


def _say(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_say, value))
    return "" if value is None else excerpt(str(value), 400)
