"""The vision tower and the VQ, written down rather than trained: they give the k-means codes exactly.

The patch embedding is a linear map to the codes' principal components, position embeddings and the block's output
projections are zero, so the residual stream carries them through; `quant_conv` is the identity. The VQ compares
angles: a code m becomes (m, -|m|^2 / 2c, rest), facing inputs with a constant component c, with `rest` filling every
code up to one length, so that the nearest by angle is the nearest in Euclidean distance. Numbers that bfloat16 would
round too coarsely are spread over several components as high and low parts.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import GlmImageForConditionalGeneration

from glmimg.demo.train.ar_model import VISION_WIDTH
from glmimg.demo.train.codebook import BLOCKS, CODEBOOK_SIZE, Codebook
from glmimg.demo.train.scene import CELL_PX, COLOURS

CONSTANT = 8.0  # a power of two: exact in bfloat16
CONSTANT_PARTS, REST_PARTS = 3, 2
COMPONENTS = VISION_WIDTH - CONSTANT_PARTS - REST_PARTS
PATCH_PX = 16  # the processor halves a picture first, so a 16 px patch is a 32 px cell
FLAT_BONUS = 0.5  # squared distance given to flat codes: halving smears a neighbour's edge into a flat cell


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
    squares = means.square().sum(1)
    squares[: len(COLOURS)] -= FLAT_BONUS
    offsets = split_for_bfloat16(-squares / (2 * CONSTANT), CONSTANT_PARTS)
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


class SourceReader:
    """The codes that processor, vision tower and VQ give a picture, computed directly: for training rows of edits."""

    def __init__(self, codebook: Codebook) -> None:
        self.directions = principal_components(codebook)
        vectors = code_vectors(codebook, self.directions)
        self.means = vectors[:, :COMPONENTS].T.contiguous()
        self.offsets = vectors[:, COMPONENTS : COMPONENTS + CONSTANT_PARTS].sum(1) * CONSTANT

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (32*rows, 32*columns, 3), within the processor's bounds, to int64 (rows, columns)."""
        rows, columns = pixels.shape[0] // CELL_PX, pixels.shape[1] // CELL_PX
        half = Image.fromarray(pixels).resize((columns * PATCH_PX, rows * PATCH_PX), Image.Resampling.BICUBIC)
        step = PATCH_PX // BLOCKS
        blocks = np.asarray(half, np.float32).reshape(rows, BLOCKS, step, columns, BLOCKS, step, 3).mean((2, 5))
        patches = torch.from_numpy(blocks.transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1).copy()) / 127.5 - 1
        scores = patches @ self.directions @ self.means + self.offsets
        return scores.argmax(1).numpy().reshape(rows, columns)
