"""The prompt as the AR model reads it: token ids, the grids to write, and every position id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from glmimg.ar.sources import SourceEncoder
from glmimg.errors import UsageError
from glmimg.grid import GridShape, Role, preview_shape, target_shape
from glmimg.sources import PreparedSource
from glmimg.tokens.dump import Grid

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor


@dataclass(frozen=True)
class ARPrompt:
    """Everything that is known before the first token.

    input_ids:         [1, length], int64
    attention_mask:    [1, length], int64
    prefill_positions: [3, 1, length]: time, row and column of each prompt token
    decode_positions:  [3, 1, tokens]: the same for every token to be written
    grids:             (role, shape) in the order of writing: preview, then target; an edit's target alone
    sources:           the codes of the source pictures, in the order of the prompt
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    prefill_positions: torch.Tensor
    decode_positions: torch.Tensor
    grids: tuple[tuple[Role, GridShape], ...]
    sources: tuple[Grid, ...] = ()

    @property
    def new_tokens(self) -> int:
        """How many tokens will be written; end-of-image is not among them."""
        return sum(shape.cells for _, shape in self.grids)

    @property
    def length(self) -> int:
        """Prompt and grids together, in tokens."""
        return self.input_ids.shape[1] + self.new_tokens


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
    check_markers(text, processor)
    inputs = _read(text, height_px, width_px, processor, sources).to(model.device)
    grids = _grids(target_shape(height_px, width_px), edit=bool(sources))
    codes: list[Grid] = []
    if encoder is not None and sources:
        refs = [source.ref for source in sources]
        codes = encoder.encode(refs, inputs["pixel_values"], inputs["image_grid_thw"][: len(sources)])
    input_ids = _fill_in(inputs["input_ids"], codes, model.config.image_token_id)
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


def _read(text: str, height_px: int, width_px: int, processor: Any, sources: Sequence[PreparedSource]) -> Any:
    """Ids of the prompt, with a placeholder for each code of a source; patches and grids of the sources."""
    content = [*({"type": "image", "image": source.image} for source in sources), {"type": "text", "text": text}]
    chat = processor.apply_chat_template([[{"role": "user", "content": content}]], tokenize=False)
    inputs: dict[str, Any] = {"text": chat, "target_h": height_px, "target_w": width_px, "return_tensors": "pt"}
    if sources:
        inputs["images"] = [[source.image for source in sources]]
        # The chat starts with an image marker, which is also the tokenizer's beginning of text.
        inputs["add_special_tokens"] = not chat[0].startswith(processor.tokenizer.bos_token)
    return processor(**inputs)


def _grids(target: GridShape, *, edit: bool) -> tuple[tuple[Role, GridShape], ...]:
    """What is to be written: an edit has the sources before its eyes and writes no preview."""
    return (("target", target),) if edit else (("preview", preview_shape(target)), ("target", target))


def _fill_in(input_ids: torch.Tensor, sources: Sequence[Grid], placeholder: int) -> torch.Tensor:
    """The codes of the sources in place of their placeholders. input_ids: [1, length]"""
    if not sources:
        return input_ids
    codes = torch.tensor([code for grid in sources for code in grid.flat()], device=input_ids.device)
    return input_ids.masked_scatter(input_ids == placeholder, codes)


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
