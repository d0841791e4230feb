"""Source pictures for the AR model: vision encoder and vector quantizer, one code per 32x32 px."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image

from glmimg.grid import GridShape, Role
from glmimg.job import SourceRef
from glmimg.runtime.finite import check_finite
from glmimg.sources.shelf import Key, identity
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

PATCH_PX = 16
"""Side of the square the vision encoder reads as one patch; its processor halves a picture first."""


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
        for ref, picture, shape in zip(refs, patches, shapes, strict=True):
            if (key := identity(ref)) not in self._known:
                self._known[key] = read_codes(self.model, "source", picture, shape[None])
        return [self._known[identity(ref)] for ref in refs]


def encode_picture(
    model: GlmImageForConditionalGeneration,
    processor: GlmImageProcessor,
    image: Image.Image,
    role: Role,
    shape: GridShape,
) -> Grid:
    """The codes of a picture, scaled so that it has `shape` of them.

    image:  RGB, any size
    source: transformers, `GlmImageImageProcessor` (halving and patches)
    """
    reader = processor.image_processor
    size = (shape.columns * PATCH_PX, shape.rows * PATCH_PX)
    small = image.resize(size, Image.Resampling(int(reader.resample)))
    inputs = reader(images=[small], do_resize=False, return_tensors="pt").to(model.device)
    return read_codes(model, role, inputs["pixel_values"].to(model.dtype), inputs["image_grid_thw"])


def read_codes(model: GlmImageForConditionalGeneration, role: Role, patches: torch.Tensor, shape: torch.Tensor) -> Grid:
    """One picture's codes.

    patches: [rows * columns, channels * 16 * 16]
    shape:   [1, 3], the numbers 1, rows, columns
    raises:  NotFinite (exit 1)
    """
    features = model.get_image_features(patches, shape).pooler_output
    check_finite(features[0], f"the vision encoder's features of the {role} picture")
    # A list of [width, rows, columns] from transformers 5.18 on, of [cells, width] before: the quantiser of
    # either version takes what its own encoder gives, the older one as one tensor.
    if features[0].ndim == 2:
        features = torch.cat(list(features))
    _, rows, columns = shape[0].tolist()
    return Grid.from_flat(role, GridShape(rows, columns), model.get_image_tokens(features, shape).flatten().tolist())
