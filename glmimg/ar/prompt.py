"""The prompt as the AR model reads it: token ids, the grids to write, every position id, and codes of source pictures.

Those come from the vision encoder and the vector quantizer, one for each 32x32 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from glmimg.grid import GridShape, Role, preview_shape, target_shape
from glmimg.job import SourceRef
from glmimg.prompts import check_markers
from glmimg.runtime.finite import check_finite
from glmimg.sources import PreparedSource
from glmimg.sources.shelf import Key, identity
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

Grids = tuple[tuple[Role, GridShape], ...]
"""What is written, in that order: preview, then target; an edit's target alone."""


PATCH_PX = 16
"""Side of the square the vision encoder reads as one patch; its processor halves a picture first."""


@dataclass(frozen=True)
class ARPrompt:
    """Everything that is known before the first token.

    input_ids:         [1, length], int64
    attention_mask:    [1, length], int64
    prefill_positions: [3, 1, length]: time, row and column of each prompt token
    decode_positions:  [3, 1, tokens]: the same for every token to be written
    grids:             what is to be written
    sources:           the codes of the source pictures, in the order of the prompt
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    prefill_positions: torch.Tensor
    decode_positions: torch.Tensor
    grids: Grids
    sources: tuple[Grid, ...] = ()

    @property
    def new_tokens(self) -> int:
        """How many tokens will be written; end-of-image is not among them."""
        return sum(shape.cells for _, shape in self.grids)

    @property
    def length(self) -> int:
        """Prompt and grids together, in tokens."""
        return self.input_ids.shape[1] + self.new_tokens

    def followed_by(self, tokens: torch.Tensor) -> ARPrompt:
        """The prompt with its first tokens already written. tokens: [count] int64"""
        count = len(tokens)
        return replace(
            self,
            input_ids=torch.cat([self.input_ids, tokens[None]], dim=1),
            attention_mask=torch.nn.functional.pad(self.attention_mask, (0, count), value=1),
            prefill_positions=torch.cat([self.prefill_positions, self.decode_positions[..., :count]], dim=-1),
            decode_positions=self.decode_positions[..., count:],
        )


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


def build_prompt(
    text: str,
    height_px: int,
    width_px: int,
    processor: GlmImageProcessor,
    model: GlmImageForConditionalGeneration,
    sources: Sequence[PreparedSource] = (),
    encoder: SourceEncoder | None = None,
) -> ARPrompt:
    """Encode the prompt of a picture, or of an edit of source pictures.

    encoder: needed for sources
    raises: UsageError (exit 2) for text holding the tokenizer's own image markers
    source: the prompt form is `GlmImageProcessor`'s, prefill positions are `GlmImageModel.get_rope_index`'s
    """
    tokenizer = processor.tokenizer
    check_markers(text, (tokenizer.image_token, tokenizer.bos_token, tokenizer.eos_token))
    inputs = read_inputs(text, height_px, width_px, processor, sources).to(model.device)
    target = target_shape(height_px, width_px)
    # An edit has the sources before its eyes and writes no preview.
    grids: Grids = (("target", target),) if sources else (("preview", preview_shape(target)), ("target", target))
    input_ids, codes = inputs["input_ids"], []
    if encoder is not None and sources:
        refs = [source.ref for source in sources]
        codes = encoder.encode(refs, inputs["pixel_values"], inputs["image_grid_thw"][: len(sources)])
        flat = torch.tensor([code for grid in codes for code in grid.flat()], device=input_ids.device)
        input_ids = input_ids.masked_scatter(input_ids == model.config.image_token_id, flat)
    positions, _ = model.model.get_rope_index(
        input_ids,
        image_grid_thw=inputs["image_grid_thw"],
        images_per_sample=inputs.get("images_per_sample"),
        attention_mask=inputs["attention_mask"],
    )
    return ARPrompt(
        input_ids=input_ids,
        attention_mask=inputs["attention_mask"],
        prefill_positions=positions,
        decode_positions=grid_positions(int(positions.max()) + 1, [shape for _, shape in grids]).to(model.device),
        grids=grids,
        sources=tuple(codes),
    )


def read_inputs(text: str, height_px: int, width_px: int, processor: Any, sources: Sequence[PreparedSource]) -> Any:
    """Ids of the prompt, with a placeholder for each code of a source; patches and grids of the sources."""
    content = [*({"type": "image", "image": source.image} for source in sources), {"type": "text", "text": text}]
    chat = processor.apply_chat_template([[{"role": "user", "content": content}]], tokenize=False)
    inputs: dict[str, Any] = {"text": chat, "target_h": height_px, "target_w": width_px, "return_tensors": "pt"}
    if sources:
        inputs["images"] = [[source.image for source in sources]]
        # The chat starts with an image marker, which is also the tokenizer's beginning of text.
        inputs["add_special_tokens"] = not chat[0].startswith(processor.tokenizer.bos_token)
    return processor(**inputs)


def grid_positions(start: int, shapes: Sequence[GridShape]) -> torch.Tensor:
    """Position ids of grids written one after the other: [3, 1, cells].

    Time stands still within a grid, rows and columns count from where the grid starts, and the next
    grid starts where the longer side ended.
    source: transformers, `GlmImageModel.get_rope_index`
    """
    pieces = []
    for shape in shapes:
        rows = torch.arange(shape.rows).repeat_interleave(shape.columns)
        columns = torch.arange(shape.columns).repeat(shape.rows)
        pieces.append(start + torch.stack([torch.zeros_like(rows), rows, columns]))
        start += max(shape)
    return torch.cat(pieces, dim=-1)[:, None]


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
