"""Colours for grids: one for each code, the same in every dump, and scales for numbers and changes.

A `ColourGrid` is rows of (red, green, blue), 0 to 255; terminal and picture files draw the same ones.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache

Colour = tuple[int, int, int]
ColourGrid = list[list[Colour]]

_STEPS = (0.8191725134, 0.6710436067, 0.5497004779)
"""Steps of the additive recurrence R3 (M. Roberts, "The unreasonable effectiveness of quasirandom sequences"):
codes that follow each other land far apart in hue, lightness and saturation."""

SAME: Colour = (48, 48, 56)


@cache
def code_colour(code: int) -> Colour:
    """The colour of a code, the same in every dump."""
    hue, lightness, saturation = (code * step % 1 for step in _STEPS)
    red, green, blue = colorsys.hls_to_rgb(hue, 0.3 + 0.45 * lightness, 0.45 + 0.55 * saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def code_colours(tokens: Sequence[Sequence[int]]) -> ColourGrid:
    """Rows of codes as colours."""
    return [[code_colour(token) for token in row] for row in tokens]


def heat_colours(values: Sequence[Sequence[float]], high: float) -> ColourGrid:
    """Numbers as a glow: 0 is black, `high` and more is white, over red and yellow."""
    return [[heat_colour(value / high if high > 0 else 0.0) for value in row] for row in values]


def heat_colour(share: float) -> Colour:
    """A share of the scale, 0 to 1, as a colour from black over red and yellow to white."""
    thirds = min(max(share, 0.0), 1.0) * 3
    red, green, blue = (round(255 * min(max(thirds - start, 0.0), 1.0)) for start in range(3))
    return red, green, blue


def change_colours(tokens: Sequence[Sequence[int]], changed: Sequence[Sequence[bool]]) -> ColourGrid:
    """Changed cells in the colour of their code, the others in grey."""
    return [
        [code_colour(token) if is_changed else SAME for token, is_changed in zip(*rows, strict=True)]
        for rows in zip(tokens, changed, strict=True)
    ]
