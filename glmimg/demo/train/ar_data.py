"""Training rows of the AR stage, made on the fly: a prompt's tokens and the grids that follow it.

A batch has one grid shape and one prompt length, so nothing is padded and attention is plainly causal.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import GlmImageProcessor

from glmimg.demo.train.captions import caption
from glmimg.demo.train.codebook import LETTER_CODES_START, Codebook
from glmimg.demo.train.edits import PRESET_SHARE, TASKS, Edit, random_edit, through_a_preset
from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import Layout, Scene, lay_out, paint
from glmimg.demo.train.speech import random_speech
from glmimg.demo.train.tokenizer import IMAGE_END, IMAGE_START
from glmimg.demo.train.vision import SourceReader

TOKENS_A_BATCH = 2400
TASK_WEIGHTS = (1, 1, 3, 1, 4, 3, 3, 4)  # of edits.TASKS: a new background was learned first, what moves a shape last
FAR_CELLS_KEPT = 0.2  # of the cells with nothing near, so many enter the loss; all the others always do
CHANGED_WEIGHT = 2.0  # of a cell of an edit that shows something else than its source did
LETTER_WEIGHT = 12.0  # of a cell that shows a letter: few they are, and hard to learn
DECISION_WEIGHT = 4.0  # of a cell unlike both its left and its upper neighbour: there the caption has to be read
OTHER_GRIDS = (
    *((8, 10), (10, 8), (8, 12), (12, 8), (8, 14), (14, 8), (8, 16), (16, 8), (10, 10), (10, 12), (12, 10)),
    *((12, 12), (12, 16), (16, 12), (14, 14), (16, 16), (9, 9), (11, 13), (13, 11), (15, 15), (10, 16), (16, 10)),
    *((8, 12), (12, 8), (10, 10), (16, 16), (16, 8)),  # twice: sizes that people ask for
)


@dataclass(frozen=True)
class ArBatch:
    """ids: int64 (B, L), prompt then grids; weights: float32 (B, L - prompt_length + 1), each target's in the loss.

    grids: int64 (images, 3), the grids of one row in the processor's order
    task: "text" or "edit"
    """

    ids: Tensor
    prompt_length: int
    weights: Tensor
    grids: Tensor
    task: str

    @property
    def targets(self) -> Tensor:
        """int64 (B, L - prompt_length + 1): the grids' codes, then end-of-image."""
        end = torch.full((len(self.ids), 1), IMAGE_END)
        return torch.cat([self.ids[:, self.prompt_length :], end], 1)


def preview_shape(rows: int, columns: int) -> tuple[int, int]:
    """Shape of the preview grid, as GlmImageProcessor computes it."""
    return int(math.sqrt(rows / columns) * 16), int(math.sqrt(columns / rows) * 16)


def near_something(layout: Layout) -> np.ndarray:
    """bool (rows, columns): the cells that show, or touch a cell that shows, another colour than the one before."""
    shade = np.pad(layout.tile * 100 + layout.front * 10 + layout.back, 1, mode="edge")
    rows, columns = layout.tile.shape
    middle = shade[1:-1, 1:-1]
    unlike = np.zeros((rows, columns), bool)
    for down in range(3):
        for across in range(3):
            unlike |= shade[down : down + rows, across : across + columns] != middle
    unlike[0, 0] = True
    return unlike


class RowMaker:
    """Turns scenes and edits into rows of token ids."""

    def __init__(self, codebook: Codebook, processor: GlmImageProcessor, rng: random.Random) -> None:
        self.codebook, self.rng = codebook, rng
        self.tokenizer, self.read_source = processor.tokenizer, SourceReader(codebook)
        self.noise = np.random.default_rng(rng.randrange(2**32))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, special tokens recognised."""
        return list(self.tokenizer(text).input_ids)

    def _grid(self, scene: Scene, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes and loss weights of a scene's grid, flat."""
        layout = lay_out(scene, rows, columns)
        codes = self.codebook.codes_of(layout)
        around = np.pad(codes, ((1, 0), (1, 0)), constant_values=-1)
        decides = (codes != around[1:, :-1]) & (codes != around[:-1, 1:])
        wanted = near_something(layout) | (self.noise.random((rows, columns)) < FAR_CELLS_KEPT)
        weights = np.where(decides, DECISION_WEIGHT, wanted)
        return codes.ravel(), np.where(codes >= LETTER_CODES_START, LETTER_WEIGHT, weights).ravel()

    def text_batch(self, rows: list[tuple[list[int], Scene]], grid: tuple[int, int]) -> ArBatch:
        """Text-to-image rows (prompt ids, scene): prompt, preview grid, target grid."""
        preview = preview_shape(*grid)
        suffix = self.encode(f"<sop>{grid[0]} {grid[1]}<eop><sop>{preview[0]} {preview[1]}<eop>") + [IMAGE_START]
        ids, weights = [], []
        for prompt, scene in rows:
            small, large = self._grid(scene, *preview), self._grid(scene, *grid)
            ids.append([*prompt, *suffix, *small[0], *large[0]])
            weights.append([*small[1], *large[1], 1.0])
        grids = torch.tensor([[1, *grid], [1, *preview]])
        return ArBatch(
            torch.tensor(ids), len(rows[0][0]) + len(suffix), torch.tensor(weights, dtype=torch.float32), grids, "text"
        )

    def edit_batch(self, rows: list[tuple[list[int], Edit]], grid: tuple[int, int]) -> ArBatch:
        """Edit rows (prompt ids, edit): the sources' grids, prompt, target grid."""
        suffix = self.encode(f"<sop>{grid[0]} {grid[1]}<eop>") + [IMAGE_START]
        ids, weights = [], []
        for prompt, edit in rows:
            row: list[int] = []
            for source in edit.sources:
                row += [IMAGE_START, *self.read_source(paint(lay_out(source, *grid))).ravel(), IMAGE_END]
            codes, wanted = self._grid(edit.target, *grid)
            before = self.codebook.codes_of(lay_out(edit.sources[-1], *grid)).ravel()
            ids.append([*row, *prompt, *suffix, *codes])
            weights.append([*np.where(codes != before, np.maximum(wanted, CHANGED_WEIGHT), wanted), 1.0])
        grids = torch.tensor([[1, *grid]] * (len(rows[0][1].sources) + 1))
        return ArBatch(
            torch.tensor(ids),
            len(ids[0]) - grid[0] * grid[1],
            torch.tensor(weights, dtype=torch.float32),
            grids,
            "edit",
        )


@dataclass
class Mixture:
    """Shares of what is drawn: edits among the batches; two-shape scenes and words among scenes; sizes not 256x256.

    spoken: share of the captions that are said as `speech` says them
    """

    edits: float = 0.0
    pairs: float = 0.0
    words: float = 0.0
    other_grids: float = 0.0
    spoken: float = 0.0


class Batches:
    """An endless supply of batches; `mixture` may be changed between them.

    plan: decides task and grid of each batch; processes that train together share its seed, so that none waits long
    """

    def __init__(self, maker: RowMaker, mixture: Mixture, plan: random.Random) -> None:
        self.maker, self.mixture, self.plan, self.rng = maker, mixture, plan, maker.rng
        self.texts: defaultdict[int, list[tuple[list[int], Scene]]] = defaultdict(list)
        self.edits: defaultdict[tuple[int, int], list[tuple[list[int], Edit]]] = defaultdict(list)

    def __iter__(self) -> Iterator[ArBatch]:
        while True:
            is_other = self.plan.random() < self.mixture.other_grids
            grid = self.plan.choice(OTHER_GRIDS) if is_other else (8, 8)
            yield self._edit(grid) if self.plan.random() < self.mixture.edits else self._text(grid)

    def _text(self, grid: tuple[int, int]) -> ArBatch:
        preview = preview_shape(*grid)
        size = max(2, TOKENS_A_BATCH // (25 + grid[0] * grid[1] + preview[0] * preview[1]))
        while True:
            if self.rng.random() < self.mixture.spoken:
                spoken = random_speech(self.rng)
                text, scene = spoken.text, spoken.scene
            else:
                scene = random_scene(self.rng, self.mixture.pairs, self.mixture.words)
                text = caption(self.rng, scene)
            prompt = self.maker.encode(text)
            waiting = self.texts[len(prompt)]
            waiting.append((prompt, scene))
            if len(waiting) >= size:
                self.texts[len(prompt)] = waiting[size:]
                return self.maker.text_batch(waiting[:size], grid)

    def _edit(self, grid: tuple[int, int]) -> ArBatch:
        size = max(2, TOKENS_A_BATCH // (20 + 2 * grid[0] * grid[1]))
        while True:
            edit = random_edit(self.rng, task=self.rng.choices(TASKS, TASK_WEIGHTS)[0])
            if self.rng.random() < PRESET_SHARE:
                edit = through_a_preset(self.rng, edit)
            prompt = self.maker.encode(edit.instruction)
            key = len(edit.sources), len(prompt)
            waiting = self.edits[key]
            waiting.append((prompt, edit))
            if len(waiting) >= size:
                self.edits[key] = waiting[size:]
                return self.maker.edit_batch(waiting[:size], grid)
