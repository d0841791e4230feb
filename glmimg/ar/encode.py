"""From a picture to its own tokens: the vision encoder and the vector quantiser, one code per 32x32 px."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from glmimg.grid import GridShape, Role
from glmimg.runtime.finite import check_finite
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

PATCH_PX = 16
"""Side of the square the vision encoder reads as one patch; its processor halves a picture first."""


def encode_picture(
    model: GlmImageForConditionalGeneration,
    processor: GlmImageProcessor,
    image: Image.Image,
    role: Role,
    shape: GridShape,
) -> Grid:
    """The codes of a picture, scaled so that it has `shape` of them.

    image:  RGB, any size
    source: transformers, `GlmImageImageProcessor` (halving and patches), `GlmImageModel.get_image_tokens`
    """
    reader = processor.image_processor
    size = (shape.columns * PATCH_PX, shape.rows * PATCH_PX)
    small = image.resize(size, Image.Resampling(int(reader.resample)))
    inputs = reader(images=[small], do_resize=False, return_tensors="pt").to(model.device)
    grid_thw = inputs["image_grid_thw"]
    features = model.model.get_image_features(inputs["pixel_values"].to(model.dtype), grid_thw).pooler_output
    check_finite(features[0], "the vision encoder's features of the picture")
    # A list of [width, rows, columns] from transformers 5.18 on, of [cells, width] before: the quantiser of
    # either version takes what its own encoder gives, the older one as one tensor.
    if features[0].ndim == 2:
        features = torch.cat(list(features))
    codes = model.model.get_image_tokens(features, grid_thw)
    return Grid.from_flat(role, shape, codes.flatten().tolist())
