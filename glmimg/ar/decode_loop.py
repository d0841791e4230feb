"""The AR decode loop: one prefill, then one forward pass per token, for a length known in advance.

It never tests for end-of-image, since the number of tokens is known, and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache

from glmimg.ar.kv_cache import KVCache, StaticKVCache
from glmimg.ar.layers import TextPass, decode_rotary
from glmimg.ar.prompt import ARPrompt
from glmimg.ar.sampling import Recital, TokenSampler

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration


class Decoder(Protocol):
    """The AR model after reading a prompt: takes tokens, returns logits of the next ones. See `TextDecoder`."""

    first_logits: torch.Tensor

    @property
    def kv_cache(self) -> KVCache | StaticKVCache: ...

    def step(self, tokens: torch.Tensor, index: int) -> torch.Tensor: ...


def write_tokens(
    decoder: Decoder, sampler: TokenSampler | Recital, new_tokens: int, before: torch.Tensor | None = None
) -> Iterator[torch.Tensor]:
    """Yield `new_tokens` visual tokens for every row of a batch, one [rows] int64 tensor at a time.

    before: tokens written earlier, [rows, count], of which all but the last have been read
    """
    if before is None:
        yield (token := sampler.draw(decoder.first_logits))
        start, end = 0, new_tokens - 1
    else:
        token = before[:, -1]
        start, end = before.shape[1] - 1, before.shape[1] - 1 + new_tokens
    for index in range(start, end):
        token = sampler.draw(decoder.step(token[:, None], index)[:, -1])
        yield token


class TextDecoder:
    """The AR text model for a batch of prompts, with each row computed as if it were alone.

    prompts:    one per row; all write grids of the same shapes
    new_tokens: the largest number of tokens that will be written
    together:   rows are multiplied together, which is faster but rounds differently
    read:       the cache of each row's prompt and first tokens, if they were read before
    """

    def __init__(
        self,
        model: GlmImageForConditionalGeneration,
        prompts: Sequence[ARPrompt],
        new_tokens: int,
        *,
        together: bool = False,
        read: Sequence[DynamicCache] = (),
    ) -> None:
        self.forward = TextPass(model, 1 if together else len(prompts))
        self.first_logits, prefilled = prefill(model, prompts, read)
        self.kv_cache = KVCache(prefilled, new_tokens)
        self.cos, self.sin = decode_rotary(model, [prompt.decode_positions for prompt in prompts])
        self.rows = range(len(prompts))

    def step(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        """Read the written tokens from number `index` on, of every row, [rows, count].

        returns: the logits after each, [rows, count, vocabulary]
        """
        count = tokens.shape[1]
        rotary = self.cos[:, index : index + count], self.sin[:, index : index + count]
        with unplanned_attention(tokens.device):
            logits = self.forward(tokens, rotary, self.kv_cache.open(count, self.rows))
        self.kv_cache.keep(count, self.rows)
        return logits

    def read(self, tokens: torch.Tensor, rows: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        """Like `step` for some rows, [some, count], each from its own position; discarded unless `keep` keeps it."""
        place = torch.tensor(places)[:, None] + torch.arange(tokens.shape[1])
        place = place.clamp(max=self.cos.shape[1] - 1).to(tokens.device)  # padding may reach beyond the last token
        row = torch.tensor(rows, device=tokens.device)[:, None]
        with unplanned_attention(tokens.device):
            return self.forward(
                tokens, (self.cos[row, place], self.sin[row, place]), self.kv_cache.open(tokens.shape[1], rows)
            )

    def keep(self, rows: Sequence[int], counts: Sequence[int]) -> None:
        """Keep this many tokens of each row of the last `read`."""
        for row, count in zip(rows, counts, strict=True):
            self.kv_cache.keep(count, [row])


def prefill(
    model: GlmImageForConditionalGeneration, prompts: Sequence[ARPrompt], before: Sequence[DynamicCache] = ()
) -> tuple[torch.Tensor, list[DynamicCache]]:
    """Read the prompts, one at a time, and each distinct prompt only once.

    before:  the cache of each, if they were read before; then the first logits are not needed
    returns: the logits of the first tokens, [rows, vocabulary]; a filled cache for each row
    """
    if before:
        return torch.zeros(len(prompts), model.config.text_config.vision_vocab_size, device=model.device), [*before]
    read: dict[int, tuple[torch.Tensor, DynamicCache]] = {}
    for prompt in prompts:
        if id(prompt) not in read:
            cache = DynamicCache(config=model.model.language_model.config)
            hidden = read_prompt(model, prompt, cache)
            read[id(prompt)] = model.lm_head(hidden[:, -1:])[:, -1], cache
    logits, caches = zip(*(read[id(prompt)] for prompt in prompts), strict=True)
    return torch.cat(logits), list(caches)


def read_prompt(
    model: GlmImageForConditionalGeneration, prompt: ARPrompt, cache: DynamicCache | None = None
) -> torch.Tensor:
    """Hidden states of a prompt, [1, length, width], by transformers' own forward pass; fills `cache`."""
    with unplanned_attention(model.device):
        output = model.model.language_model(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask,
            position_ids=prompt.prefill_positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
    return output.last_hidden_state  # type: ignore[no-any-return]


def unplanned_attention(device: torch.device) -> AbstractContextManager[object]:
    """Leave cuDNN out of attention on CUDA while passes of varying shape run.

    torch prefers it in half precision, and it makes a plan for every number of keys it meets, which takes about
    30 ms: more than the pass. Flash and memory-efficient attention take any shape at once. The DiT, whose shapes
    stay, is not run in here: there cuDNN is the fastest.
    """
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
