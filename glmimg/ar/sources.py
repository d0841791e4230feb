"""Source pictures as the AR model reads them: vision encoder and vector quantiser, one code per 32x32 px."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from glmimg.grid import GridShape
from glmimg.job import SourceRef
from glmimg.runtime.finite import check_finite
from glmimg.sources.shelf import Key, identity
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration


class SourceEncoder:
    """Encodes each distinct source once, however many jobs use it."""

    def __init__(self, model: GlmImageForConditionalGeneration) -> None:
        self.model = model
        self._known: dict[Key, Grid] = {}

    def encode(self, refs: Sequence[SourceRef], pixels: torch.Tensor, shapes: torch.Tensor) -> list[Grid]:
        """The codes of each source of one prompt.

        pixels:  [patches of all sources, channels * 16 * 16], as `GlmImageProcessor` cuts them
        shapes:  [sources, 3], each 1, rows, columns
        returns: one grid of role "source" for each ref
        """
        patches = torch.split(pixels, shapes.prod(-1).tolist())
        grids = []
        for ref, picture, shape in zip(refs, patches, shapes, strict=True):
            key = identity(ref)
            if key not in self._known:
                self._known[key] = self._encode_one(picture, shape[None])
            grids.append(self._known[key])
        return grids

    def _encode_one(self, patches: torch.Tensor, shape: torch.Tensor) -> Grid:
        """patches: [rows * columns, channels * 16 * 16]; shape: [1, 3]"""
        _, rows, columns = shape[0].tolist()
        features = self.model.get_image_features(patches, shape).pooler_output
        check_finite(features[0], "the vision encoder's features of a source picture")
        # transformers before 5.18 gives [cells, width], later ones [width, rows, columns], which the
        # quantiser wants; both come as one tensor a picture.
        if features[0].ndim == 2:
            codes = self.model.get_image_tokens(torch.cat(list(features)), shape)
        else:
            codes = self.model.get_image_tokens(features, shape)
        return Grid.from_flat("source", GridShape(rows, columns), codes.flatten().tolist())
