"""Keys and values of everything read so far, in buffers allocated once, since the length is known.

`KVCache` shows each row exactly what it would see alone: rows whose prompts have the same length
attend together, others beside them, and nobody is padded. `StaticKVCache` has one shape for every
step, which compiled and captured graphs need: prompts are padded on the left, and a mask hides the
padding and what is not yet written.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache


class KVCache:
    """A cache that hides nothing, because it holds nothing that would have to be hidden.

    prefilled:  what each row's prompt left, one transformers cache a row (one object may stand for several rows)
    new_tokens: tokens to come, the same for every row
    """

    def __init__(self, prefilled: Sequence[DynamicCache], new_tokens: int) -> None:
        self.lengths = [cache.get_seq_length() for cache in prefilled]
        self.spans = _runs(self.lengths)
        self.written = 0
        capacity = max(self.lengths) + new_tokens
        self.keys, self.values = _allocate(prefilled[0], len(prefilled), capacity)
        for row, (cache, length) in enumerate(zip(prefilled, self.lengths, strict=True)):
            for layer, source in enumerate(cache.layers):
                self.keys[layer][row, :, :length] = source.keys[0]
                self.values[layer][row, :, :length] = source.values[0]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `layers.Attend`. Several new tokens attend causally among themselves."""
        gathered = []
        new = key.shape[2]
        for rows, length in self.spans:
            start = length + self.written
            end = start + new
            keys, values = self.keys[layer][rows], self.values[layer][rows]
            keys[:, :, start:end] = key[rows]
            values[:, :, start:end] = value[rows]
            gathered.append(_look_back(query[rows], keys[:, :, :end], values[:, :, :end], scale))
        return gathered[0] if len(gathered) == 1 else torch.cat(gathered)

    def keep(self, tokens: int) -> None:
        """Let the first `tokens` of what was written since the last call stand; the rest is written over."""
        self.written += tokens


class StaticKVCache:
    """A cache of one shape: every step sees all of it, and a mask says what counts.

    like:     a prefilled transformers cache, for layers, heads, dtype and device
    capacity: tokens it can hold

    `position`, [1] int64, is where the next token goes, and `visible`, [rows, 1, 1, capacity] bool, is False
    over the padding to the left of shorter prompts. Both are tensors, so that a captured graph reads their
    present values, and all buffers stay where they are when the cache is filled again.
    """

    def __init__(self, like: DynamicCache, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.keys, self.values = _allocate(like, rows, capacity)
        device = self.keys[0].device
        self.places = torch.arange(capacity, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.visible = torch.ones(rows, 1, 1, capacity, dtype=torch.bool, device=device)

    def fill(self, prefilled: Sequence[DynamicCache]) -> None:
        """Start anew from what each row's prompt left."""
        lengths = [cache.get_seq_length() for cache in prefilled]
        longest = max(lengths)
        for row, (cache, length) in enumerate(zip(prefilled, lengths, strict=True)):
            self.visible[row] = self.places >= longest - length
            for layer, source in enumerate(cache.layers):
                self.keys[layer][row, :, longest - length : longest] = source.keys[0]
                self.values[layer][row, :, longest - length : longest] = source.values[0]
        self.position.fill_(longest)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `layers.Attend`. Of static shape: nothing in it depends on how far writing has come."""
        new = self.position + torch.arange(key.shape[2], device=key.device)
        self.keys[layer].index_copy_(2, new, key)
        self.values[layer].index_copy_(2, new, value)
        mask = self.visible & (self.places <= new[:, None])
        return attend_under_mask(query, self.keys[layer], self.values[layer], mask, scale)

    def keep(self, tokens: int) -> None:
        """As `KVCache.keep`."""
        self.position += tokens


def _look_back(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of the last tokens to everything up to themselves."""
    new, end = query.shape[2], keys.shape[2]
    if new > 1:
        return attend_under_mask(query, keys, values, causal_mask(new, end, query), scale)
    return scaled_dot_product_attention(query, keys, values, scale=scale, enable_gqa=True)


def causal_mask(new: int, end: int, like: torch.Tensor) -> torch.Tensor:
    """What the last `new` of `end` tokens may see: [1, 1, new, end] bool."""
    return torch.ones(1, 1, new, end, dtype=torch.bool, device=like.device).tril(end - new)


def attend_under_mask(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention of more query heads than key heads under a mask, without copying keys to the query heads.

    Queries that share a key head become queries of that head: [rows, key heads, share * tokens, dim].

    query:   [rows, heads, tokens, dim]
    mask:    [rows or 1, 1, tokens, length] bool, True where a query may look
    returns: [rows, heads, tokens, dim]
    """
    rows, heads, tokens, dim = query.shape
    share = heads // keys.shape[1]
    packed = query.reshape(rows, keys.shape[1], share * tokens, dim)
    mask = mask.expand(rows, 1, tokens, keys.shape[2]).repeat(1, 1, share, 1)
    gathered = scaled_dot_product_attention(packed, keys, values, attn_mask=mask, scale=scale)
    return gathered.reshape(rows, heads, tokens, dim)


def _allocate(like: DynamicCache, rows: int, capacity: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Buffers for keys and values of each layer, [rows, key heads, capacity, dim].

    Zeros, not whatever lies there: hidden places are multiplied by 0, which would not undo a NaN.
    """
    keys = [layer.keys.new_zeros(rows, layer.keys.shape[1], capacity, layer.keys.shape[3]) for layer in like.layers]
    return keys, [torch.zeros_like(each) for each in keys]


def _runs(lengths: Sequence[int]) -> list[tuple[slice, int]]:
    """Neighbouring rows of equal length, as (rows, length)."""
    spans, start = [], 0
    for length, run in groupby(lengths):
        count = len(list(run))
        spans.append((slice(start, start + count), length))
        start += count
    return spans
