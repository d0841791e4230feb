"""Keys and values of everything read so far, in buffers allocated once, since the length is known.

`KVCache` shows each row exactly what it would see alone: rows whose prompts have the same length
attend together, others beside them, and nobody is padded. `StaticKVCache` has one shape for every
step, which compiled and captured graphs need: prompts are padded on the left, and a mask hides the
padding and what is not yet written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from glmimg.runtime.machine import free_bytes

if TYPE_CHECKING:
    from transformers import DynamicCache, GlmImageForConditionalGeneration

Attend = Callable[[int, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""A cache during one pass: takes in new keys and values, returns what the queries gather, of their shape.

Called with the layer's number, queries, [rows, heads, tokens, dim], keys and values, [rows, tokens, 2, key heads, dim],
and the scale.
"""

MOST_ROWS = 32
"""Rows beyond which a token costs hardly less. On the demo 8, 16, 32, 64 rows took 0.31, 0.27, 0.20, 0.18 of the time
a picture takes alone."""

SHARE_OF_FREE_MEMORY = 0.5
"""The rest is for weights read meanwhile, activations and everybody else."""


def head_dim(config: Any) -> int:
    """Of a text model's attention."""
    return getattr(config, "head_dim", None) or int(config.hidden_size // config.num_attention_heads)


def rows_that_fit(model: GlmImageForConditionalGeneration, length: int, held: int = 0) -> int:
    """Rows of `length` tokens to draw at once, at least 1: as many as pay, as far as their keys and values fit.

    held: bytes of a cache that theirs takes the place of
    """
    config = model.config.text_config
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim(config) * model.dtype.itemsize
    logits = 16 * 4 * config.vision_vocab_size  # and the copies that sampling makes of them
    room = (free_bytes(model.device) + held) * SHARE_OF_FREE_MEMORY
    return max(1, min(MOST_ROWS, int(room // (length * per_token + logits))))


class KVCache:
    """A cache that hides nothing, because it holds nothing that would have to be hidden.

    prefilled:  what each row's prompt left, one transformers cache a row (one object may stand for several rows)
    new_tokens: tokens to come, the same for every row
    """

    def __init__(self, prefilled: Sequence[DynamicCache], new_tokens: int) -> None:
        self.lengths = [cache.get_seq_length() for cache in prefilled]
        layers, like = prefilled[0].layers, prefilled[0].layers[0].keys
        _, heads, _, dim = like.shape
        self.store = like.new_zeros(len(layers), 2, len(prefilled), heads, max(self.lengths) + new_tokens, dim)
        for row, (cache, length) in enumerate(zip(prefilled, self.lengths, strict=True)):
            for layer, source in enumerate(cache.layers):
                self.store[layer, 0, row, :, :length] = source.keys[0]
                self.store[layer, 1, row, :, :length] = source.values[0]

    def open(self, new: int, rows: Sequence[int]) -> Attend:
        """Make ready for a pass over `new` tokens of these rows, which attend causally among themselves."""
        spans: list[tuple[slice, Attend]] = []
        # Neighbours of equal length attend together.
        for (length, _), run in groupby(enumerate(rows), key=lambda each: (self.lengths[each[1]], each[1] - each[0])):
            (at, first), *others = run
            count = 1 + len(others)
            store = self.store[:, :, first : first + count]
            spans.append((slice(at, at + count), _look_back(store, length, new)))
        if len(spans) == 1:
            return spans[0][1]

        def attend(layer: int, query: torch.Tensor, key_value: torch.Tensor, scale: float) -> torch.Tensor:
            return torch.cat([each(layer, query[part], key_value[part], scale) for part, each in spans])

        return attend

    def state(self, row: int, length: int) -> torch.Tensor:
        """Keys and values of the first `length` tokens of a row: [layers, 2, heads, length, dim]."""
        state: torch.Tensor = self.store[:, :, row, :, :length]
        return state

    def keep(self, tokens: int, rows: Sequence[int]) -> None:
        """Let the first `tokens` of what the last pass wrote of these rows stand; the rest is written over."""
        for row in rows:
            self.lengths[row] += tokens


def _look_back(store: torch.Tensor, start: int, new: int) -> Attend:
    """Attention of tokens `start` and following to everything up to themselves, for rows of one length.

    store: [layers, 2, rows, heads, capacity, dim]. Every view of it is made once for all layers.
    """
    end, mask = start + new, None
    if new > 1:
        mask = torch.ones(1, 1, new, end, dtype=torch.bool, device=store.device).tril(start)
    written, seen = store.narrow(4, start, new).unbind(0), store.narrow(4, 0, end).flatten(0, 1).unbind(0)

    def attend(layer: int, query: torch.Tensor, key_value: torch.Tensor, scale: float) -> torch.Tensor:
        written[layer].copy_(key_value.permute(2, 0, 3, 1, 4))
        keys, values = seen[2 * layer : 2 * layer + 2]
        if mask is not None:
            return attend_under_mask(query, keys, values, mask, scale)
        return scaled_dot_product_attention(query, keys, values, scale=scale, enable_gqa=True)

    return attend


class StaticKVCache:
    """A cache of one shape: every step sees all of it, and a mask says what counts.

    like:     a prefilled transformers cache, for layers, heads, dtype and device
    share:    query heads that attend to one key head
    capacity: tokens it can hold

    `stores` hold keys and values of each layer, [2, rows, key heads, capacity, dim]. `position`, [1] int64, is where
    the next token goes, and `visible`, [rows, 1, 1, capacity] bool, is False over the padding to the left of shorter
    prompts. All are tensors that stay where they are when the cache is filled again, so that a captured graph reads
    their present values.
    """

    def __init__(self, like: DynamicCache, rows: int, capacity: int, share: int) -> None:
        self.share = share
        first = like.layers[0].keys
        self.key_heads = first.shape[1]
        shape = 2, rows, self.key_heads, capacity, first.shape[3]
        # Zeros, not whatever lies there: hidden places are multiplied by 0, which would not undo a NaN.
        self.stores = [first.new_zeros(shape) for _ in like.layers]
        self.places = torch.arange(capacity, device=first.device)
        self.position = torch.zeros(1, dtype=torch.int64, device=first.device)
        self.visible = torch.ones(rows, 1, 1, capacity, dtype=torch.bool, device=first.device)

    @property
    def nbytes(self) -> int:
        return sum(store.nbytes for store in self.stores)

    def fill(self, prefilled: Sequence[DynamicCache]) -> None:
        """Start anew from what each row's prompt left."""
        lengths = [cache.get_seq_length() for cache in prefilled]
        longest = max(lengths)
        for row, (cache, length) in enumerate(zip(prefilled, lengths, strict=True)):
            self.visible[row] = self.places >= longest - length
            for store, source in zip(self.stores, cache.layers, strict=True):
                store[0, row, :, longest - length : longest] = source.keys[0]
                store[1, row, :, longest - length : longest] = source.values[0]
        self.position.fill_(longest)

    def open(self) -> Attend:
        """As `KVCache.open` for one token, of static shape: nothing in it depends on how far writing has come."""
        mask = self._seen()

        def attend(layer: int, query: torch.Tensor, key_value: torch.Tensor, scale: float) -> torch.Tensor:
            store = self.stores[layer]
            store.index_copy_(3, self.position, key_value.permute(2, 0, 3, 1, 4))
            return attend_under_mask(query, store[0], store[1], mask, scale)

        return attend

    def additive_mask(self) -> torch.Tensor:
        """What hides places when it is added to scores: [rows * key heads, share, capacity] of zeros and -inf."""
        hidden = torch.where(self._seen(), 0.0, -torch.inf).to(self.stores[0].dtype)
        return hidden.expand(-1, self.key_heads, self.share, -1).flatten(0, 1)

    def _seen(self) -> torch.Tensor:
        """bool [rows, 1, 1, capacity]: what is no padding and was written, the next token with it."""
        return self.visible & (self.places <= self.position)

    def state(self, row: int, length: int) -> torch.Tensor:
        """As `KVCache.state`."""
        start = int(self.visible[row].flatten().int().argmax())
        return torch.stack([store[:, row, :, start : start + length] for store in self.stores])


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
    # for one token a view, not a copy
    mask = mask[:, :, None].expand(rows, 1, share, tokens, keys.shape[2]).flatten(2, 3)
    gathered = scaled_dot_product_attention(packed, keys, values, attn_mask=mask, scale=scale)
    return gathered.reshape(rows, heads, tokens, dim)
