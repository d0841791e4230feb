"""Keys and values of everything read so far, in buffers allocated once, since the length is known.

`KVCache` shows each row exactly what it would see alone: rows whose prompts have the same length
attend together, others beside them, and nobody is padded. `StaticKVCache` has one shape for every
step, which compiled and captured graphs need: prompts are padded on the left, and a mask hides the
padding and what is not yet written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        lengths = [cache.get_seq_length() for cache in prefilled]
        self.written = 0
        like = prefilled[0].layers[0].keys
        _, heads, _, dim = like.shape
        layers, capacity = len(prefilled[0].layers), max(lengths) + new_tokens
        store = like.new_zeros(layers, 2, len(prefilled), heads, capacity, dim)
        for row, (cache, length) in enumerate(zip(prefilled, lengths, strict=True)):
            for layer, source in enumerate(cache.layers):
                store[layer, 0, row, :, :length] = source.keys[0]
                store[layer, 1, row, :, :length] = source.values[0]
        self.spans = [(rows, length, store[:, :, rows]) for rows, length in _runs(lengths)]

    def open(self, new: int) -> OpenCache:
        """See `layers.Cache`. Several new tokens attend causally among themselves."""
        return OpenCache([Span.of(store, rows, length + self.written, new) for rows, length, store in self.spans])

    def keep(self, tokens: int) -> None:
        """Let the first `tokens` of what the last pass wrote stand; the rest is written over."""
        self.written += tokens


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of equal length during one pass, every view of the buffers made once for all layers.

    new:  each layer's place for new keys and values, [2, rows, heads, tokens, dim]
    seen: keys, then values, of one layer after the other, [rows, heads, tokens so far, dim]
    mask: None if there is nothing to hide
    """

    rows: slice
    new: tuple[torch.Tensor, ...]
    seen: tuple[torch.Tensor, ...]
    mask: torch.Tensor | None

    @classmethod
    def of(cls, store: torch.Tensor, rows: slice, start: int, new: int) -> Span:
        """store: [layers, 2, rows, heads, capacity, dim]; the pass writes places `start` and following."""
        end = start + new
        seen = store.narrow(4, 0, end).flatten(0, 1).unbind(0)
        mask = causal_mask(new, end, store) if new > 1 else None
        return cls(rows, store.narrow(4, start, new).unbind(0), seen, mask)


class OpenCache:
    """A `KVCache` during one pass."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans

    def attend(self, layer: int, query: torch.Tensor, key_value: torch.Tensor, scale: float) -> torch.Tensor:
        """See `layers.Attend`."""
        key_value = key_value.permute(2, 0, 3, 1, 4)
        if len(self.spans) == 1:
            return _look_back(self.spans[0], layer, query, key_value, scale)
        parts = [_look_back(each, layer, query[each.rows], key_value[:, each.rows], scale) for each in self.spans]
        return torch.cat(parts)


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

    def open(self, new: int) -> OpenStaticCache:
        """See `layers.Cache`. Of static shape: nothing in it depends on how far writing has come."""
        places = self.position + torch.arange(new, device=self.position.device)
        return OpenStaticCache(self.keys, self.values, places, self.visible & (self.places <= places[:, None]))

    def keep(self, tokens: int) -> None:
        """As `KVCache.keep`."""
        self.position += tokens


class OpenStaticCache:
    """A `StaticKVCache` during one pass. places: [tokens], of the new tokens; mask: [rows, 1, tokens, capacity] bool"""

    def __init__(
        self, keys: list[torch.Tensor], values: list[torch.Tensor], places: torch.Tensor, mask: torch.Tensor
    ) -> None:
        self.keys, self.values, self.places, self.mask = keys, values, places, mask

    def attend(self, layer: int, query: torch.Tensor, key_value: torch.Tensor, scale: float) -> torch.Tensor:
        """See `layers.Attend`."""
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        self.keys[layer].index_copy_(2, self.places, key)
        self.values[layer].index_copy_(2, self.places, value)
        return attend_under_mask(query, self.keys[layer], self.values[layer], self.mask, scale)


def _look_back(span: Span, layer: int, query: torch.Tensor, key_value: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of the last tokens to everything up to themselves. key_value: [2, rows, heads, tokens, dim]"""
    span.new[layer].copy_(key_value)
    keys, values = span.seen[2 * layer : 2 * layer + 2]
    if span.mask is not None:
        return attend_under_mask(query, keys, values, span.mask, scale)
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
    if share == 1:
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
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
