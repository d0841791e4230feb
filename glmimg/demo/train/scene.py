"""The demo's world: flat shapes and capital letters on plain or two-tone backgrounds, laid out on whole cells.

A scene knows no pixels. `lay_out` puts it on a grid of cells (one cell is 32x32 px, one visual token): which tile
each cell shows, in which two colours. Every box is a whole, even number of cells wide, so few distinct tiles exist:
squares need none but "full", diamonds four, triangles four. A picture and its tokens both follow from the layout.
"""

import hashlib
import math
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL_PX = 32
SUPERSAMPLING = 8

COLOURS: dict[str, tuple[int, int, int]] = {  # CSS values
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
COLOUR_NAMES = tuple(COLOURS)
KINDS = ("circle", "square", "triangle", "star", "diamond")
SIZES = ("small", "plain", "large")
PLACES: dict[str, tuple[int, int]] = {  # (row, column): -1 towards the top or left, 0 in the middle, 1 bottom or right
    "centre": (0, 0),
    "left": (0, -1),
    "right": (0, 1),
    "top": (-1, 0),
    "bottom": (1, 0),
    "top left": (-1, -1),
    "top right": (-1, 1),
    "bottom left": (1, -1),
    "bottom right": (1, 1),
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_WORD = 6
WORD_ROWS = ("top", "middle", "bottom")
SIDES = (2, 4, 6, 8, 10, 12)  # widths of a shape's box in cells, on grids of 8 to 16 cells


@dataclass(frozen=True)
class Shape:
    """One flat shape: `kind` of KINDS, `colour` of COLOURS, `size` of SIZES, `place` of PLACES."""

    kind: str
    colour: str
    size: str = "plain"
    place: str = "centre"


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    background: colour name; with `second`, the left ("columns") or upper ("rows") half of a two-tone background
    word:       up to MAX_WORD capital letters, written in the bottom row, or in the middle of an empty scene
    word_row:   one of WORD_ROWS, where the caption says in which row the word stands
    """

    background: str
    shapes: tuple[Shape, ...] = ()
    second: str | None = None
    split: str = "columns"
    word: str = ""
    word_row: str = field(default="", repr=False)  # what is held out is told by what was there before


@dataclass(frozen=True)
class Layout:
    """A scene on a grid of cells: int arrays (rows, columns) of tile index, foreground and background colour index."""

    tile: np.ndarray
    front: np.ndarray
    back: np.ndarray


def is_held_out(scene: Scene) -> bool:
    """True for the one scene in sixteen that no trainer ever sees: a hash of all that the scene shows decides."""
    shapes = sorted(f"{s.kind} {s.colour} {s.size} {s.place}" for s in scene.shapes)
    key = "|".join(
        [
            scene.background,
            str(scene.second),
            scene.split if scene.second else "",
            scene.word,
            *filter(None, [scene.word_row]),
            *shapes,
        ]
    )
    return hashlib.sha256(key.encode()).digest()[0] < 16


def box_side(size: str, rows: int, columns: int) -> int:
    """Width of a shape's box in cells, an even number: about 1/4, 1/2, 3/4 of the grid's shorter side."""
    shorter = min(rows, columns)
    if size == "small":
        return 2 * math.floor(shorter / 8 + 0.5)
    return 2 * math.floor(shorter / 4) if size == "plain" else 2 * math.floor(3 * shorter / 8 + 0.25)


def _start(direction: int, side: int, length: int) -> int:
    """First cell of a box along one axis: middle, or centred on the first or last quarter as far as it fits."""
    if direction == 0:
        return (length - side) // 2
    first = max(0, math.floor(length / 4 - side / 2 + 0.5))
    return first if direction < 0 else length - side - first


def box_of(shape: Shape, rows: int, columns: int) -> tuple[int, int, int]:
    """(top, left, side) of a shape's square box in cells."""
    side = box_side(shape.size, rows, columns)
    down, across = PLACES[shape.place]
    return _start(down, side, rows), _start(across, side, columns), side


def _polygon(kind: str, side_px: int) -> list[tuple[float, float]]:
    if kind == "triangle":
        return [(side_px / 2, 0), (side_px, side_px), (0, side_px)]
    if kind == "diamond":
        return [(side_px / 2, 0), (side_px, side_px / 2), (side_px / 2, side_px), (0, side_px / 2)]
    outer = side_px / (2 * math.sin(math.radians(72)))
    top = (side_px - outer * (1 + math.cos(math.radians(36)))) / 2
    corners = []
    for i in range(10):
        radius = outer if i % 2 == 0 else 0.45 * outer
        angle = math.radians(36 * i)
        corners.append((side_px / 2 + radius * math.sin(angle), top + outer - radius * math.cos(angle)))
    return corners


@cache
def shape_mask(kind: str, side: int) -> np.ndarray:
    """Coverage of a shape in its box: float32 (32*side, 32*side), 0 to 1, edges antialiased."""
    side_px = side * CELL_PX
    big = Image.new("L", (side_px * SUPERSAMPLING, side_px * SUPERSAMPLING), 0)
    draw, end = ImageDraw.Draw(big), side_px * SUPERSAMPLING
    if kind == "square":
        draw.rectangle((0, 0, end, end), fill=255)
    elif kind == "circle":
        draw.ellipse((0, 0, end - 1, end - 1), fill=255)
    else:
        draw.polygon(_polygon(kind, end), fill=255)
    return np.asarray(big.resize((side_px, side_px), Image.Resampling.BOX), dtype=np.float32) / 255


@cache
def letter_mask(letter: str) -> np.ndarray:
    """Coverage of a capital letter in its cell: float32 (32, 32), 0 to 1, Pillow's own font."""
    font = ImageFont.load_default(34)
    cell = Image.new("L", (CELL_PX, CELL_PX), 0)
    left, top, right, bottom = font.getbbox(letter)
    at = (CELL_PX / 2 - (left + right) / 2, CELL_PX / 2 - (top + bottom) / 2)
    ImageDraw.Draw(cell).text(at, letter, fill=255, font=font, stroke_width=1)
    return np.asarray(cell, dtype=np.float32) / 255


@dataclass(frozen=True)
class Tiles:
    """All distinct tiles: `masks` float32 (n, 32, 32); 0 is empty, 1 full; `grids[kind, side]` int (side, side)."""

    masks: np.ndarray
    grids: dict[tuple[str, int], np.ndarray]
    letters: dict[str, int]


@lru_cache(maxsize=1)
def all_tiles() -> Tiles:
    """Cut every shape of every size, and every letter, into cells and number the distinct ones."""
    masks = [np.zeros((CELL_PX, CELL_PX), np.float32), np.ones((CELL_PX, CELL_PX), np.float32)]
    numbers = {(mask * 255).round().astype(np.uint8).tobytes(): i for i, mask in enumerate(masks)}

    def number_of(mask: np.ndarray) -> int:
        key = (mask * 255).round().astype(np.uint8).tobytes()
        if key not in numbers:
            numbers[key] = len(masks)
            masks.append(mask)
        return numbers[key]

    grids = {}
    for kind in KINDS:
        for side in SIDES:
            cells = shape_mask(kind, side).reshape(side, CELL_PX, side, CELL_PX).swapaxes(1, 2)
            grids[kind, side] = np.array([[number_of(cell) for cell in row] for row in cells])
    letters = {letter: number_of(letter_mask(letter)) for letter in LETTERS}
    return Tiles(np.stack(masks), grids, letters)


def ink_on(background: str) -> str:
    """Black or white, whichever stands out from `background`."""
    red, green, blue = COLOURS[background]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "white"


def word_row(scene: Scene, rows: int) -> int:
    """The row of cells in which a scene's word stands, of `rows`."""
    named = scene.word_row or ("bottom" if scene.shapes else "middle")
    return {"top": 0, "middle": rows // 2, "bottom": rows - 1}[named]


def lay_out(scene: Scene, rows: int, columns: int) -> Layout:
    """Put a scene on a grid of `rows` x `columns` cells (each at least 8)."""
    tiles = all_tiles()
    tile = np.zeros((rows, columns), np.int64)
    back = np.full((rows, columns), COLOUR_NAMES.index(scene.background))
    if scene.second:
        half = np.s_[:, columns // 2 :] if scene.split == "columns" else np.s_[rows // 2 :, :]
        back[half] = COLOUR_NAMES.index(scene.second)
    front = back.copy()
    for shape in scene.shapes:
        top, left, side = box_of(shape, rows, columns)
        box = np.s_[top : top + side, left : left + side]
        tile[box] = tiles.grids[shape.kind, side]
        front[box] = COLOUR_NAMES.index(shape.colour)
    if scene.word:
        row = word_row(scene, rows)
        left = (columns - len(scene.word)) // 2
        for column, letter in enumerate(scene.word, left):
            tile[row, column] = tiles.letters[letter]
            front[row, column] = COLOUR_NAMES.index(ink_on(COLOUR_NAMES[back[row, column]]))
    return Layout(tile, front, back)


def paint(layout: Layout) -> np.ndarray:
    """Pixels of a layout: uint8 (32*rows, 32*columns, 3)."""
    palette = np.array([COLOURS[name] for name in COLOUR_NAMES], np.float32)
    masks = all_tiles().masks[layout.tile][..., None]
    cells = palette[layout.back][:, :, None, None] * (1 - masks) + palette[layout.front][:, :, None, None] * masks
    rows, columns = layout.tile.shape
    return cells.swapaxes(1, 2).reshape(rows * CELL_PX, columns * CELL_PX, 3).round().astype(np.uint8)


def draw_scene(scene: Scene, width_px: int, height_px: int) -> Image.Image:
    """The true picture of a scene; both sides are multiples of 32, from 256."""
    return Image.fromarray(paint(lay_out(scene, height_px // CELL_PX, width_px // CELL_PX)))
