"""Attention heads that know a cell's row and column from the first step.

The model learns where things are only through rotary positions. Left to itself it learned to copy the cells above and
to the left, and after 1,800 steps still started shapes anywhere. So four heads of the first layer begin as readers of
position: their queries are constant, their keys answer only to three tokens that every prompt ends with, each a third
of a turn apart in the plane of one rotary frequency. How the softmax divides between the three tells the angle, that
is, the row or the column; from there the heads train like any others.
"""

import math

import torch
from torch import Tensor
from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

from glmimg.demo.train.tokenizer import IMAGE_START

READERS = {2: 1, 3: 4, 4: 2, 5: 5}  # head: rotary frequency; frequencies 1, 4 turn with rows, 2, 5 with columns
SLOW = 15  # a frequency that turns with the image's index only, so slowly that it serves as plain content
ATTENTION_GAIN, TURN_GAIN, VALUE_GAIN, OUTPUT_STD = 9.0, 2.5, 3.0, 0.25


def anchors_of(processor: GlmImageProcessor) -> list[tuple[int, int]]:
    """(token id, distance from the first generated token) of start of image, <eop> and <sop>, the end of every prompt."""
    ids = processor.tokenizer.convert_tokens_to_ids(["<eop>", "<sop>"])
    return [(IMAGE_START, 1), (ids[0], 2), (ids[1], 5)]


def start_position_heads(model: GlmImageForConditionalGeneration, anchors: list[tuple[int, int]]) -> None:
    """Set the readers' weights in place.

    anchors: three (token id, distance in tokens from the first generated token), from `anchors_of`
    """
    text = model.model.language_model
    attention, config = text.layers[0].self_attn, text.config
    dim = config.hidden_size // config.num_attention_heads
    theta = config.rope_parameters["rope_theta"]
    norm = text.layers[0].input_layernorm.weight
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        ids = torch.tensor([token for token, _ in anchors])
        embedded = text.embed_tokens.weight[ids]
        seen = embedded / embedded.square().mean(1, keepdim=True).sqrt() * norm  # what the projections get to see
        answer = torch.linalg.pinv(seen).T  # (3, width): 1 for its own anchor, 0 for the two others
        for head, frequency in READERS.items():
            own = slice(head * dim, (head + 1) * dim)
            speed = theta ** (-frequency / (dim // 2))
            query, keys = _query_and_keys(dim, frequency, speed, [distance for _, distance in anchors])
            attention.q_proj.weight[own] = 0
            attention.q_proj.bias[own] = query
            attention.k_proj.weight[own] = keys.T @ answer
            attention.k_proj.bias[own] = 0
            attention.v_proj.weight[own] = VALUE_GAIN * torch.eye(dim)[:, : len(anchors)] @ answer
            attention.v_proj.bias[own] = 0
            columns = torch.randn(config.hidden_size, dim, generator=generator)
            attention.o_proj.weight[:, own] = OUTPUT_STD * columns


def _query_and_keys(dim: int, frequency: int, speed: float, distances: list[int]) -> tuple[Tensor, Tensor]:
    """A query (dim,) and one key an anchor (3, dim): a common part, and a part a third of a turn apart."""
    half = dim // 2
    query, keys = torch.zeros(dim), torch.zeros(len(distances), dim)
    query[SLOW] = query[frequency] = math.sqrt(math.sqrt(dim))
    for i, distance in enumerate(distances):
        angle = 2 * math.pi * i / len(distances) + speed * distance
        keys[i, SLOW] = ATTENTION_GAIN * math.sqrt(math.sqrt(dim))
        keys[i, frequency] = TURN_GAIN * math.sqrt(math.sqrt(dim)) * math.cos(angle)
        keys[i, frequency + half] = TURN_GAIN * math.sqrt(math.sqrt(dim)) * math.sin(angle)
    return query, keys
