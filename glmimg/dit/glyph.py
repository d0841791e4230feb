"""Quoted words in the prompt, as the glyph encoder (a small ByT5) sees them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import ByT5Tokenizer, T5EncoderModel

QUOTES = (r"'([^']*)'", r"“([^“”]*)”", r'"([^"]*)"', r"「([^「」]*)」")
"""In the order diffusers looks for them, which is the order of the words' embeddings."""

MAX_BYTES = 2048
"""Longer quotations are cut (`max_sequence_length` of `GlmImagePipeline`)."""


def quoted_texts(prompt: str) -> list[str]:
    """The quoted texts of a prompt, by kind of quotation mark (diffusers, `GlmImagePipeline.get_glyph_texts`)."""
    return [text for pattern in QUOTES for text in re.findall(pattern, prompt)]


def embed_glyphs(prompt: str, tokenizer: ByT5Tokenizer, encoder: T5EncoderModel, dtype: torch.dtype) -> torch.Tensor:
    """Embeddings of the quoted texts of a prompt, one after the other; of the empty text if there are none.

    returns: [1, tokens, width of the encoder], in `dtype`
    source:  diffusers, `GlmImagePipeline._get_glyph_embeds`
    """
    ids = tokenizer(quoted_texts(prompt) or [""], max_length=MAX_BYTES, truncation=True).input_ids
    pad: int = tokenizer.pad_token_id
    # An even number of texts gets a leading pad each, an odd number none: diffusers counts the texts
    # where it seems to mean their bytes, and the same picture needs the same padding.
    ids = [[pad] * ((len(ids) + 1) % 2) + text for text in ids]
    longest = max(map(len, ids))
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in ids], device=encoder.device)
    padded = torch.tensor([text + [pad] * (longest - len(text)) for text in ids], device=encoder.device)
    hidden: torch.Tensor = encoder(padded, attention_mask=mask).last_hidden_state
    return hidden[mask.bool()].unsqueeze(0).to(dtype)
