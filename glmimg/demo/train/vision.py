"""The vision tower and the VQ, written down rather than trained: they give the k-means codes exactly.

The patch embedding is a linear map to the codes' principal components, position embeddings and the block's output
projections are zero, so the residual stream carries them through; `quant_conv` is the identity. The VQ compares
angles: a code m becomes (m, -|m|^2 / 2c, rest), facing inputs with a constant component c, with `rest` filling every
code up to one length, so that the nearest by angle is the nearest in Euclidean distance. Numbers that bfloat16 would
round too coarsely are spread over several components as high and low parts.
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GlmImageForConditionalGeneration

from glmimg.demo.train.ar_model import VISION_WIDTH
from glmimg.demo.train.codebook import BLOCKS, CODEBOOK_SIZE, Codebook

CONSTANT = 8.0  # a power of two: exact in bfloat16
CONSTANT_PARTS, REST_PARTS = 3, 2
COMPONENTS = VISION_WIDTH - CONSTANT_PARTS - REST_PARTS
PATCH_PX = 16  # the processor halves a picture first, so a 16 px patch is a 32 px cell


def split_for_bfloat16(values: Tensor, parts: int) -> list[Tensor]:
    """Numbers as a sum of `parts` bfloat16 numbers."""
    pieces, left = [], values.double()
    for _ in range(parts):
        piece = left.bfloat16().double()
        pieces.append(piece.float())
        left = left - piece
    return pieces


def principal_components(codebook: Codebook) -> Tensor:
    """float32 (3 * BLOCKS**2, COMPONENTS), bfloat16 values: directions that tell the codes' patches apart."""
    patches = codebook.patches.transpose(0, 3, 1, 2).reshape(CODEBOOK_SIZE, -1)
    _, _, directions = np.linalg.svd(patches, full_matrices=False)
    return torch.from_numpy(directions[:COMPONENTS].T.copy()).bfloat16().float()


def code_vectors(codebook: Codebook, directions: Tensor) -> Tensor:
    """float32 (CODEBOOK_SIZE, VISION_WIDTH), all of one length: what the VQ compares features with."""
    patches = torch.from_numpy(codebook.patches.transpose(0, 3, 1, 2).reshape(CODEBOOK_SIZE, -1).copy())
    means = (patches @ directions).bfloat16().float()
    offsets = split_for_bfloat16(-means.square().sum(1) / (2 * CONSTANT), CONSTANT_PARTS)
    body = torch.cat([means, torch.stack(offsets, 1)], 1)
    lengths = body.double().square().sum(1)
    rest = (lengths.max() * 1.01 - lengths).sqrt()
    high = (rest * (1 - 2**-8)).bfloat16().double()  # never above `rest`
    low = (rest.square() - high.square()).sqrt()  # a perpendicular component: the squares add up
    return torch.cat([body, high[:, None].float(), low[:, None].float()], 1)


def write_vision(model: GlmImageForConditionalGeneration, codebook: Codebook) -> None:
    """Set the weights of `model`'s vision tower and VQ from the codebook, in place."""
    visual, vq = model.model.visual, model.model.vqmodel
    directions = principal_components(codebook)
    with torch.no_grad():
        for parameter in [*visual.parameters(), *vq.parameters()]:
            parameter.zero_()
        for module in visual.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1)
        kernel = directions.T.reshape(COMPONENTS, 3, BLOCKS, BLOCKS)
        step = PATCH_PX // BLOCKS
        visual.patch_embed.proj.weight[:COMPONENTS] = (
            kernel.repeat_interleave(step, 2).repeat_interleave(step, 3) / step**2
        )
        visual.patch_embed.proj.bias[COMPONENTS : COMPONENTS + CONSTANT_PARTS] = CONSTANT
        vq.quant_conv.weight.copy_(torch.eye(VISION_WIDTH)[:, :, None, None])
        vq.post_quant_conv.weight.copy_(torch.eye(VISION_WIDTH)[:, :, None, None])
        vq.quantize.embedding.weight.copy_(code_vectors(codebook, directions))
