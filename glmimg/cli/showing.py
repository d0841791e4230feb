"""Pictures where somebody looks: a small one on the terminal, the file itself in the desktop's viewer."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from glmimg.cli.inspect_view import draw_colours

if TYPE_CHECKING:
    import rich.console
    from PIL.Image import Image
    from rich.console import RenderableType

    from glmimg.tokens.dump import TokenDump

SHADES = " .:-=+*#%@"
"""From black to white, for terminals without colour."""

LEAST_ROWS = 8
GAP = 1
"""Columns between pictures side by side."""


def on_terminal(image: Image, console: rich.console.Console) -> RenderableType:
    """A picture as sharp as the terminal can, at most half as high as it: pixels by its protocol, else half blocks.

    image: RGB; one of few pixels, such as of a grid, is enlarged by whole numbers
    """
    columns, rows = max(console.width - 1, 1), max(console.height // 2, LEAST_ROWS)
    small = fitted(image, columns, 2 * rows)
    if console.no_color:
        return in_letters(small)
    if has_graphics(console):
        from textual_image.renderable import HalfcellImage, UnicodeImage
        from textual_image.renderable import Image as Drawn

        if Drawn not in (HalfcellImage, UnicodeImage):
            return Drawn(image, width=small.width, height=-(-small.height // 2))
    data = small.tobytes()
    pixels = list(zip(data[::3], data[1::3], data[2::3], strict=True))
    return draw_colours([pixels[start : start + small.width] for start in range(0, len(pixels), small.width)], columns)


def has_graphics(console: rich.console.Console) -> bool:
    """Whether the terminal may be asked for its protocol: textual-image talks to it over all three streams."""
    streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    if find_spec("textual_image") is None or not all(stream and stream.isatty() for stream in streams):
        return False
    return all(os.get_terminal_size(sys.__stdout__.fileno()))  # type: ignore[union-attr] # some say 0x0


def fitted(image: Image, columns: int, rows: int) -> Image:
    """The picture as large as there is room: made smaller smoothly, or larger by a whole number."""
    from PIL.Image import Resampling

    share = min(columns / image.width, rows / image.height)
    if share >= 1:
        return image.resize((image.width * int(share), image.height * int(share)), Resampling.NEAREST)
    size = (max(round(image.width * share), 1), max(round(image.height * share), 1))
    return image.resize(size, Resampling.LANCZOS)


def in_letters(image: Image) -> Text:
    """A picture in characters, the brighter the denser; every second row, because a character is twice as high."""
    grey = image.convert("L").resize((image.width, -(-image.height // 2)))
    signs = [SHADES[value * len(SHADES) // 256] for value in grey.tobytes()]
    lines = ["".join(signs[start : start + grey.width]) for start in range(0, len(signs), grey.width)]
    return Text("\n".join(lines), no_wrap=True)


def of_tokens(dumps: Sequence[TokenDump]) -> Image:
    """The last grids of some dumps beside each other, a pixel a code in its colour."""
    from PIL import Image

    from glmimg.tokens.palette import code_colours

    grids = [code_colours(dump.grids[-1].tokens) for dump in dumps]
    width = sum(len(grid[0]) + GAP for grid in grids) - GAP
    sheet, left = Image.new("RGB", (width, max(map(len, grids)))), 0
    for grid in grids:
        for top, row in enumerate(grid):
            for column, colour in enumerate(row):
                sheet.putpixel((left + column, top), colour)
        left += len(grid[0]) + GAP
    return sheet


def open_with_desktop(path: Path) -> str:
    """Open a file with the viewer that the desktop has for it. Returns why not, empty where it could be."""
    import typer

    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no desktop here to open it with"
    return "this machine has no viewer for it (xdg-open)" if typer.launch(str(path.absolute())) else ""
