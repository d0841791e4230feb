"""Reads quoted words wherever they stand in a picture: letters are looked for everywhere, and none may be found."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from glmimg.demo.train.scene import CELL_PX, COLOURS, LETTERS, Scene, ink_on, letter_mask, word_row

SOFT_PX = 1.0  # blur of the letters that are looked for: the VAE's edges are soft
LEAST_LIKENESS = 0.72  # correlation with a letter, below which there is none
LEAST_CONTRAST = 0.1  # spread of the ink in a letter's cell, of 1, below which the cell is flat
APART_PX = 20  # two letters are never nearer
LINE_PX = 14  # letters of a line differ in height by less
OFF_PX = 16  # from its true place a letter may stand, on either axis
BORDER_PX = 8  # so much of a letter's cell may lie outside the picture


@dataclass(frozen=True)
class Letter:
    """A letter that was found, and its middle in pixels."""

    name: str
    top: float
    left: float


@cache
def _soft_letters() -> np.ndarray:
    """float32 (26, 32, 32): every letter, of mean 0 and length 1."""
    soft = []
    for letter in LETTERS:
        drawn = Image.fromarray((letter_mask(letter) * 255).astype(np.uint8))
        soft.append(np.asarray(drawn.filter(ImageFilter.GaussianBlur(SOFT_PX)), np.float32))
    stacked = np.stack(soft) - np.mean(soft, axis=(1, 2), keepdims=True)
    return stacked / np.linalg.norm(stacked, axis=(1, 2), keepdims=True)


def _sums(values: np.ndarray) -> np.ndarray:
    """Sum over each window of a letter's size."""
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return (
        total[CELL_PX:, CELL_PX:]
        - total[:-CELL_PX, CELL_PX:]
        - total[CELL_PX:, :-CELL_PX]
        + total[:-CELL_PX, :-CELL_PX]
    )


def likeness(ink: np.ndarray) -> np.ndarray:
    """float (26, height - 31, width - 31): correlation of each letter with the window that begins at each pixel."""
    height, width = ink.shape
    letters = np.fft.rfft2(_soft_letters(), (height, width)).conj()
    matched = np.fft.irfft2(np.fft.rfft2(ink) * letters, (height, width))[:, : height - 31, : width - 31]
    area = CELL_PX**2
    spread = np.sqrt((_sums(ink**2) - _sums(ink) ** 2 / area).clip(0))
    return np.where(spread > LEAST_CONTRAST * CELL_PX, matched / spread.clip(1e-6), 0.0)


def find_letters(ink: np.ndarray) -> Iterator[Letter]:
    """The letters in `ink`, float (height, width) in 0..1, the clearest first."""
    like = likeness(np.pad(ink, BORDER_PX, mode="edge"))
    best, names = like.max(0), like.argmax(0)
    while best.max() >= LEAST_LIKENESS:
        top, left = np.unravel_index(best.argmax(), best.shape)
        yield Letter(LETTERS[names[top, left]], top - BORDER_PX + CELL_PX / 2, left - BORDER_PX + CELL_PX / 2)
        best[max(0, top - APART_PX) : top + APART_PX, max(0, left - APART_PX) : left + APART_PX] = 0


def read_picture(image: Image.Image, background: str) -> list[Letter]:
    """All letters of a picture in reading order, in black or white, whichever stands out from `background`."""
    back = np.array(COLOURS[background], np.float32)
    span = np.array(COLOURS[ink_on(background)], np.float32) - back
    ink = ((np.asarray(image.convert("RGB"), np.float32) - back) @ span / (span @ span)).clip(0, 1)
    return sorted(find_letters(ink), key=lambda letter: (round(letter.top / LINE_PX / 2), letter.left))


def judge_word(scene: Scene, image: Image.Image) -> dict[str, float]:
    """Letters asked and those right in their places; the word, right where all are and the picture has no others."""
    found = read_picture(image, scene.background)
    top = word_row(scene, image.height // CELL_PX) * CELL_PX + CELL_PX / 2
    first = (image.width // CELL_PX - len(scene.word)) // 2 * CELL_PX + CELL_PX / 2
    right = sum(
        any(
            one.name == name and abs(one.top - top) <= OFF_PX and abs(one.left - first - at * CELL_PX) <= OFF_PX
            for one in found
        )
        for at, name in enumerate(scene.word)
    )
    asked = len(scene.word)
    return {"letters": right, "letters_asked": asked, "words": right == asked == len(found)}
