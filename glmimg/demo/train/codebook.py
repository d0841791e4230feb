"""Phase 0: the codebook. A visual token is a pattern in two colours, so the codes are patterns times colour pairs.

k-means runs over the distinct tiles' coverage masks, not over coloured patches. A pattern with its colours swapped is
its complement in the same pair, so PATTERNS clusters serve as twice as many. Ids: one flat code a colour, then for
each unordered pair of colours the patterns and their complements, then each letter in ink on each background.
"""

import random
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import CELL_PX, COLOUR_NAMES, COLOURS, LETTERS, Layout, all_tiles, ink_on, lay_out

PATTERNS = 42
BLOCK_PX = 4  # masks are compared, and patches described, by means of 4x4 px
BLOCKS = CELL_PX // BLOCK_PX
PAIRS = tuple(combinations(range(len(COLOURS)), 2))
LETTER_CODES_START = len(COLOURS) + 2 * PATTERNS * len(PAIRS)
CODEBOOK_SIZE = LETTER_CODES_START + len(COLOURS) * len(LETTERS)


@dataclass(frozen=True)
class Codebook:
    """The codes and how layouts become them.

    patches: float32 (CODEBOOK_SIZE, BLOCKS, BLOCKS, 3), mean colours in -1..1 of what each code stands for
    table:   int64 (tiles, colours, colours), code of [tile, front, back]; -1 where the two colours do not occur together
    """

    patches: np.ndarray
    table: np.ndarray

    def codes_of(self, layout: Layout) -> np.ndarray:
        """int64 (rows, columns): the visual tokens of a layout."""
        return self.table[layout.tile, layout.front, layout.back]

    def save(self, path: Path) -> None:
        """Keep the codebook in an .npz file."""
        np.savez_compressed(path, patches=self.patches, table=self.table)


def load_codebook(path: Path) -> Codebook:
    """Read what `Codebook.save` wrote."""
    stored = np.load(path)
    return Codebook(stored["patches"], stored["table"])


def block_means(masks: np.ndarray) -> np.ndarray:
    """float32 (n, 32, 32) to (n, BLOCKS, BLOCKS)."""
    return masks.reshape(-1, BLOCKS, BLOCK_PX, BLOCKS, BLOCK_PX).mean((2, 4))


def tile_frequencies(scenes: int = 6000) -> np.ndarray:
    """How often each tile occurs in random scenes, half of them on the 8x8 grid of a 256x256 picture: float64 (tiles,)."""
    rng, counts = random.Random(7), Counter[int]()
    grids = ((8, 8), (8, 8), (8, 8), (16, 16), (8, 12), (12, 8), (13, 19), (19, 13))
    for _ in range(scenes):
        counts.update(lay_out(random_scene(rng, words=0), *rng.choice(grids)).tile.ravel().tolist())
    return np.array([counts[i] for i in range(len(all_tiles().masks))], np.float64)


def cluster_patterns(masks: np.ndarray, weights: np.ndarray, rounds: int = 60, starts: int = 12) -> np.ndarray:
    """k-means in which a mask also counts as its complement.

    masks: float (n, d) in 0..1; weights: (n,), their frequencies; returns the best of `starts` runs, (PATTERNS, d)
    """
    rng, best, best_cost = np.random.default_rng(0), masks[:PATTERNS], np.inf
    for _ in range(starts):
        centres = masks[rng.choice(len(masks), PATTERNS, replace=False, p=weights / weights.sum())]
        for _ in range(rounds):
            nearest, distance = nearest_pattern(masks, centres)
            own, flipped = nearest % PATTERNS, nearest >= PATTERNS
            turned = np.where(flipped[:, None], 1 - masks, masks)
            for i in range(PATTERNS):
                mine = own == i
                if mine.any():
                    centres[i] = np.average(turned[mine], axis=0, weights=weights[mine])
                else:
                    centres[i] = masks[np.argmax(distance * weights)]
        cost = float((distance * weights).sum())
        if cost < best_cost:
            best, best_cost = centres.copy(), cost
    return _shape_in_front(masks, weights, best)


def _shape_in_front(masks: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Flip the centres that stand mostly for complements: then a code's front colour is mostly the shape's."""
    nearest, _ = nearest_pattern(masks, centres)
    use = np.bincount(nearest, weights, 2 * PATTERNS)
    flip = use[PATTERNS:] > use[:PATTERNS]
    return np.where(flip[:, None], 1 - centres, centres)


def nearest_pattern(masks: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index, squared distance) of the nearest among the centres and then their complements, for each mask."""
    both = np.concatenate([centres, 1 - centres])
    distances = ((masks[:, None] - both[None]) ** 2).sum(-1)
    return distances.argmin(1), distances.min(1)


def _palette() -> np.ndarray:
    return np.array([COLOURS[name] for name in COLOUR_NAMES], np.float32) / 127.5 - 1


def _blend(mask: np.ndarray, front: int, back: int) -> np.ndarray:
    palette = _palette()
    return palette[back] + (palette[front] - palette[back]) * mask.reshape(BLOCKS, BLOCKS, 1)


def build_codebook() -> Codebook:
    """Cluster the tiles and number patterns, colour pairs and letters."""
    tiles = all_tiles()
    masks = block_means(tiles.masks).reshape(len(tiles.masks), -1)
    letters = set(tiles.letters.values())
    edges = np.array([i for i in range(2, len(masks)) if i not in letters])
    weights = tile_frequencies()[edges] + 1e-3
    centres = cluster_patterns(masks[edges], weights)
    flat = np.stack([np.zeros(masks.shape[1]), np.ones(masks.shape[1])])
    candidates = np.concatenate([centres, 1 - centres, flat])
    choice = ((masks[:, None] - candidates[None]) ** 2).sum(-1).argmin(1)

    patches = np.zeros((CODEBOOK_SIZE, BLOCKS, BLOCKS, 3), np.float32)
    patches[: len(COLOURS)] = _palette()[:, None, None]
    table = np.full((len(masks), len(COLOURS), len(COLOURS)), -1)
    for c in range(len(COLOURS)):
        table[:, c, c] = c
    for pair, (low, high) in enumerate(PAIRS):
        start = len(COLOURS) + 2 * PATTERNS * pair
        for p in range(2 * PATTERNS):
            patches[start + p] = _blend(candidates[p], low, high)
        for tile in [0, 1, *edges]:
            p = choice[tile]
            complement = (p + PATTERNS) % (2 * PATTERNS)
            table[tile, low, high] = start + p if p < 2 * PATTERNS else (high, low)[p - 2 * PATTERNS]
            table[tile, high, low] = start + complement if p < 2 * PATTERNS else (low, high)[p - 2 * PATTERNS]
    for back, name in enumerate(COLOUR_NAMES):
        front = COLOUR_NAMES.index(ink_on(name))
        for i, letter in enumerate(LETTERS):
            code = LETTER_CODES_START + back * len(LETTERS) + i
            table[tiles.letters[letter], front, back] = code
            patches[code] = _blend(masks[tiles.letters[letter]], front, back)
    return Codebook(patches, table)
