"""What a code means, as numbers: the start of every code embedding (AR input, AR head, DiT prior).

A code is a pattern in two colours, so its features are its front colour, its back colour and its pattern. Trained
from there, the models share colours and edges between codes from the first step.
"""

import numpy as np
import torch
from torch import Tensor

from glmimg.demo.train.codebook import BLOCKS, CODEBOOK_SIZE, LETTER_CODES_START, PAIRS, PATTERNS, Codebook
from glmimg.demo.train.scene import COLOUR_NAMES, COLOURS, LETTERS, ink_on


def _colours_and_pattern(code: int) -> tuple[int, int, int]:
    """(front, back, pattern) of a code; patterns: 0..PATTERNS-1, then flat, then the letters."""
    if code < len(COLOURS):
        return code, code, PATTERNS
    if code >= LETTER_CODES_START:
        back, letter = divmod(code - LETTER_CODES_START, len(LETTERS))
        return COLOUR_NAMES.index(ink_on(COLOUR_NAMES[back])), back, PATTERNS + 1 + letter
    pair, pattern = divmod(code - len(COLOURS), 2 * PATTERNS)
    low, high = PAIRS[pair]
    return (low, high, pattern) if pattern < PATTERNS else (high, low, pattern - PATTERNS)


def code_features(codebook: Codebook) -> Tensor:
    """float32 (CODEBOOK_SIZE, features): one-hot front, back and pattern, the pattern's mask, the mean colours."""
    parts = np.array([_colours_and_pattern(code) for code in range(CODEBOOK_SIZE)])
    front, back = np.eye(len(COLOURS))[parts[:, 0]], np.eye(len(COLOURS))[parts[:, 1]]
    pattern = np.eye(PATTERNS + 1 + len(LETTERS))[parts[:, 2]]
    masks = np.full((CODEBOOK_SIZE, BLOCKS * BLOCKS), 0.0)
    edged = parts[:, 0] != parts[:, 1]
    palette = codebook.patches[: len(COLOURS), 0, 0]
    span = palette[parts[:, 0]] - palette[parts[:, 1]]
    channel = np.abs(span).argmax(1)
    rows = np.flatnonzero(edged)
    values = codebook.patches.reshape(CODEBOOK_SIZE, -1, 3)[rows, :, channel[rows]]
    back_values = palette[parts[rows, 1], channel[rows]]
    masks[rows] = (values - back_values[:, None]) / span[rows, channel[rows]][:, None] - 0.5
    means = codebook.patches.reshape(CODEBOOK_SIZE, -1)
    features = np.concatenate([2 * front, 2 * back, pattern, masks / 3, means / 14], 1)
    return torch.from_numpy(features.astype(np.float32))


def embed_features(features: Tensor, width: int, scale: float, seed: int) -> Tensor:
    """A fixed random projection of the features to (codes, width), its root mean square `scale`."""
    generator = torch.Generator().manual_seed(seed)
    projected = features @ torch.randn(features.shape[1], width, generator=generator)
    return projected * (scale / projected.square().mean().sqrt())
