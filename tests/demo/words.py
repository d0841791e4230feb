"""Judges quoted words by their pixels: is each cell's letter, of all 26, most like the one the caption asks for?"""

import random
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from glmimg.demo.train.captions import caption
from glmimg.demo.train.sampling import with_word
from glmimg.demo.train.scene import CELL_PX, COLOURS, LETTERS, Scene, ink_on, is_held_out, letter_mask

from .scorer import Draw

SHIFT_PX = 2  # a letter may stand so far from its place
SOFT_PX = 1.5  # blur of the letters it is compared with: the VAE's edges are soft
LEAST_INK = 0.03  # of a cell's pixels, or it counts as empty


@cache
def _soft_letters() -> np.ndarray:
    """float32 (26 * shifts, 1024): every letter at every shift, each of mean 0 and length 1."""
    rows = []
    for letter in LETTERS:
        drawn = Image.fromarray((letter_mask(letter) * 255).astype(np.uint8))
        soft = np.asarray(drawn.filter(ImageFilter.GaussianBlur(SOFT_PX)), np.float32)
        for down in range(-SHIFT_PX, SHIFT_PX + 1):
            for across in range(-SHIFT_PX, SHIFT_PX + 1):
                rows.append(np.roll(soft, (down, across), (0, 1)).ravel())
    stacked = np.stack(rows) - np.mean(rows, axis=1, keepdims=True)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def read_letter(ink: np.ndarray) -> str:
    """The letter that a cell's ink, float (32, 32) in 0..1, is most like; empty for an empty cell."""
    if (ink > 0.5).mean() < LEAST_INK:
        return ""
    likeness = _soft_letters() @ (ink.ravel() - ink.mean())
    return LETTERS[int(likeness.argmax()) // (2 * SHIFT_PX + 1) ** 2]


def read_word(image: Image.Image, scene: Scene) -> str:
    """What stands in the row where the scene's word belongs, empty cells left out."""
    back = np.array(COLOURS[scene.background], np.float32)
    span = np.array(COLOURS[ink_on(scene.background)], np.float32) - back
    ink = ((np.asarray(image.convert("RGB"), np.float32) - back) @ span / (span @ span)).clip(0, 1)
    row = (image.height // CELL_PX - 1 if scene.shapes else image.height // CELL_PX // 2) * CELL_PX
    cells = [ink[row : row + CELL_PX, left : left + CELL_PX] for left in range(0, image.width, CELL_PX)]
    return "".join(read_letter(cell) for cell in cells)


def held_out_words(count: int = 40, seed: int = 0) -> list[tuple[str, Scene]]:
    """Captions with a quoted word, of scenes that training never drew."""
    rng = random.Random(seed)
    scenes = (with_word(rng) for _ in iter(int, 1))
    held_out = (scene for scene in scenes if is_held_out(scene))
    return [(caption(rng, scene), scene) for scene, _ in zip(held_out, range(count), strict=False)]


def score_words(draw: Draw, prompts: list[tuple[str, Scene]]) -> dict[str, float]:
    """Counts of words read as asked, and of letters right at their place in the word."""
    found = [(read_word(draw(text), scene), scene.word) for text, scene in prompts]
    return {
        "prompts": float(len(found)),
        "words": float(sum(read == asked for read, asked in found)),
        "letters": float(sum(a == b for read, asked in found for a, b in zip(read, asked, strict=False))),
        "letters_asked": float(sum(len(asked) for _, asked in found)),
    }
