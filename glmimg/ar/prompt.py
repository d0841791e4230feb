"""The prompt as the AR model reads it: token ids, the grids to write, and every position id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from glmimg.errors import UsageError
from glmimg.tokens.grid import GridShape, Role, preview_shape, target_shape

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor


@dataclass(frozen=True)
class ARPrompt:
    """Everything that is known before the first token.

    input_ids:         [1, length], int64
    attention_mask:    [1, length], int64
    prefill_positions: [3, 1, length]: time, row and column of each prompt token
    decode_positions:  [3, 1, tokens]: the same for every token to be written
    grids:             (role, shape) in the order of writing: preview, then target
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    prefill_positions: torch.Tensor
    decode_positions: torch.Tensor
    grids: tuple[tuple[Role, GridShape], ...]

    @property
    def new_tokens(self) -> int:
        """How many tokens will be written; end-of-image is not among them."""
        return sum(shape.cells for _, shape in self.grids)


def build_prompt(
    text: str,
    height_px: int,
    width_px: int,
    processor: GlmImageProcessor,
    model: GlmImageForConditionalGeneration,
) -> ARPrompt:
    """Encode a text-to-image prompt.

    raises: UsageError (exit 2) for text holding the tokenizer's own image markers
    source: the prompt form is `GlmImageProcessor`'s, prefill positions are `GlmImageModel.get_rope_index`'s
    """
    check_markers(text, processor)
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    chat = processor.apply_chat_template([messages], tokenize=False)
    inputs: Any = processor(text=chat, target_h=height_px, target_w=width_px, return_tensors="pt")
    inputs = inputs.to(model.device)
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        images_per_sample=inputs.get("images_per_sample"),
        attention_mask=inputs["attention_mask"],
    )
    target = target_shape(height_px, width_px)
    grids: tuple[tuple[Role, GridShape], ...] = (("preview", preview_shape(target)), ("target", target))
    return ARPrompt(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        prefill_positions=positions,
        decode_positions=grid_positions(int(positions.max()) + 1, [shape for _, shape in grids]).to(model.device),
        grids=grids,
    )


def grid_positions(start: int, shapes: list[GridShape]) -> torch.Tensor:
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


def check_markers(text: str, processor: GlmImageProcessor) -> None:
    """Refuse prompts that would be read as pictures. Raises UsageError (exit 2)."""
    tokenizer = processor.tokenizer
    for marker in (tokenizer.image_token, tokenizer.bos_token, tokenizer.eos_token):
        if marker in text:
            raise UsageError(f"the prompt contains {marker!r}, a marker of the model itself", "Take it out.")
