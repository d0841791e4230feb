"""Grids as picture files: with a legend, as a difference, or drawn over the decoded picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glmimg.atomic import write_atomically
from glmimg.errors import BadImage
from glmimg.grid import CELL_PX
from glmimg.metadata import encode, format_of
from glmimg.sources.colour import read_rgb
from glmimg.tokens import palette
from glmimg.tokens.compare import Comparison
from glmimg.tokens.dump import Grid, TokenDump
from glmimg.tokens.statistics import GridStatistics, describe_grid

PANEL_PX = 512
"""About the longer side of a drawn grid."""

FONT_PX = 14
LINE_PX = 20
MARGIN_PX = 16
INK, PAPER = (32, 32, 36), (255, 255, 255)
TINT = 0.4
"""Opacity of the codes' colours over the picture."""

IDS_UP_TO_PX = 1024
"""Pictures up to this side are doubled, so that the ids can be written into the cells."""


@dataclass(frozen=True)
class Panel:
    """A grid to draw, with its title and the lines of its legend: colour and text."""

    title: str
    colours: palette.ColourGrid
    legend: Sequence[tuple[palette.Colour, str]] = ()


def draw_dump(dump: TokenDump) -> Image.Image:
    """Draw all grids of a dump side by side with legends, and the surprise map if it was scored. RGB."""
    panels = []
    for grid in dump.grids:
        panels.append(_code_panel(grid, describe_grid(grid)))
        if grid.logprobs is not None:
            panels.append(_surprise_panel(grid, grid.logprobs))
    return _compose(panels)


def draw_comparison(one: TokenDump, other: TokenDump, comparison: Comparison) -> Image.Image:
    """The last grids of both, and the cells in which they differ in the second one's colours. RGB."""
    panels = [_code_panel(dump.grids[-1], describe_grid(dump.grids[-1])) for dump in (one, other)]
    last = other.grids[-1]
    difference = next(each for each in comparison.grids if each.name == last.role)
    if difference.changed is not None:
        colours = palette.change_colours(last.tokens, difference.changed)
        panels.append(Panel(f"changed: {difference.cells_changed} of {last.shape.cells}", colours))
    return _compose(panels)


def draw_over(dump: TokenDump, picture_path: Path) -> Image.Image:
    """The target grid over the picture painted from it: a tint a code, a line where codes change. RGB.

    raises: BadImage (exit 3): no picture, or one of another size
    """
    picture = read_rgb(picture_path)
    if picture.size != (dump.width, dump.height):
        raise BadImage(
            picture_path,
            f"is {picture.width}x{picture.height} pixels, but the dump's picture is {dump.size}",
            "Use the picture decoded from this dump.",
        )
    scale = 2 if max(picture.size) <= IDS_UP_TO_PX else 1
    cell = CELL_PX * scale
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.LANCZOS)
    over = Image.blend(picture, _enlarge(palette.code_colours(dump.target.tokens), cell), TINT)
    pen = ImageDraw.Draw(over)
    _draw_borders(pen, dump.target.tokens, cell)
    if scale > 1:
        font = ImageFont.load_default(FONT_PX)
        for row, tokens in enumerate(dump.target.tokens):
            for column, token in enumerate(tokens):
                at = ((column + 0.5) * cell, (row + 0.5) * cell)
                pen.text(at, str(token), fill=PAPER, font=font, anchor="mm", stroke_width=2, stroke_fill=INK)
    return over


def write_picture(picture: Image.Image, path: Path, *, replace: bool = True) -> None:
    """Write a picture atomically, in the format of its extension. Raises OutputError, and as `write_atomically`."""
    write_atomically(path, encode(picture, format_of(path), {}), replace=replace)


def _code_panel(grid: Grid, statistics: GridStatistics) -> Panel:
    legend = [
        (palette.code_colour(each.code), f"{each.code}: {each.cells} ({each.share:.1%})")
        for each in statistics.most_frequent
    ]
    title = f"{grid.role} {grid.height}x{grid.width}, {statistics.distinct} codes"
    return Panel(title, palette.code_colours(grid.tokens), legend)


def _surprise_panel(grid: Grid, logprobs: Sequence[Sequence[float]]) -> Panel:
    high = max(-min(map(min, logprobs)), 1e-9)
    legend = [(palette.heat_colour(part / 4), f"{high * part / 4:.2f} nats") for part in range(5)]
    colours = palette.heat_colours([[-value for value in row] for row in logprobs], high)
    return Panel(f"{grid.role}: surprise (negative log-probability)", colours, legend)


def _compose(panels: Sequence[Panel]) -> Image.Image:
    drawn = [_enlarge(panel.colours, _cell_px(panel.colours)) for panel in panels]
    font = ImageFont.load_default(FONT_PX)
    widths = [max(grid.width, *_text_widths(panel, font)) for grid, panel in zip(drawn, panels, strict=True)]
    grids_end = 2 * MARGIN_PX + LINE_PX + max(grid.height for grid in drawn)
    height = grids_end + LINE_PX * max(len(panel.legend) for panel in panels) + MARGIN_PX
    canvas = Image.new("RGB", (sum(widths) + MARGIN_PX * (len(panels) + 1), height), PAPER)
    pen, left = ImageDraw.Draw(canvas), MARGIN_PX
    for panel, grid, width in zip(panels, drawn, widths, strict=True):
        pen.text((left, MARGIN_PX), panel.title, fill=INK, font=font)
        canvas.paste(grid, (left, MARGIN_PX + LINE_PX))
        for number, (colour, text) in enumerate(panel.legend):
            top = grids_end + number * LINE_PX
            pen.rectangle((left, top + 2, left + LINE_PX - 6, top + LINE_PX - 4), fill=colour, outline=INK)
            pen.text((left + LINE_PX + 2, top), text, fill=INK, font=font)
        left += width + MARGIN_PX
    return canvas


def _text_widths(panel: Panel, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[int]:
    legend = [LINE_PX + 2 + round(font.getlength(text)) for _, text in panel.legend]
    return [round(font.getlength(panel.title)), *legend]


def _cell_px(colours: palette.ColourGrid) -> int:
    return max(PANEL_PX // max(len(colours), len(colours[0])), 4)


def _enlarge(colours: palette.ColourGrid, cell_px: int) -> Image.Image:
    """Each colour as a square."""
    rows, columns = len(colours), len(colours[0])
    small = Image.frombytes(
        "RGB", (columns, rows), bytes(value for row in colours for colour in row for value in colour)
    )
    return small.resize((columns * cell_px, rows * cell_px), Image.Resampling.NEAREST)


def _draw_borders(pen: ImageDraw.ImageDraw, tokens: Sequence[Sequence[int]], cell: int) -> None:
    """A line between neighbours of unlike codes."""
    for row, line in enumerate(tokens):
        for column, (here, right) in enumerate(pairwise(line), start=1):
            if here != right:
                pen.line((column * cell, row * cell, column * cell, (row + 1) * cell), fill=INK)
    for row, (above, below) in enumerate(pairwise(tokens), start=1):
        for column, (here, under) in enumerate(zip(above, below, strict=True)):
            if here != under:
                pen.line((column * cell, row * cell, (column + 1) * cell, row * cell), fill=INK)
