"""Stage 1 beyond drawing from a prompt: part of a grid drawn anew, and tokens read off a picture."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from glmimg.ar.encode import encode_picture
from glmimg.ar.prompt import ARPrompt
from glmimg.ar.redraw import forced_tokens, redraw_tokens
from glmimg.ar.sampling import TokenSampler
from glmimg.events import TokensWritten, Watch
from glmimg.grid import GridShape, Role, preview_shape, target_shape
from glmimg.tokens.change import Reading, Redraw
from glmimg.tokens.dump import Grid, Stats

if TYPE_CHECKING:
    from transformers import GlmImageForConditionalGeneration, GlmImageProcessor

REPORT_EVERY = 16
"""Tokens between two reports of progress: reading the clock is free, drawing a terminal is not."""


def redraw_grids(
    model: GlmImageForConditionalGeneration, prompt: ARPrompt, sampler: TokenSampler, redraw: Redraw, watch: Watch
) -> tuple[list[Grid], Stats]:
    """The grids with the asked cells drawn anew, the others forced."""
    ids = [token for grid in redraw.kept for token in grid.flat()]
    forced = forced_tokens(ids, [cell for mask in redraw.anew for row in mask for cell in row], model.device)
    started = time.perf_counter()
    drawn: list[torch.Tensor] = []
    for token in redraw_tokens(model, prompt, sampler, forced):
        drawn.append(token)
        if len(drawn) % REPORT_EVERY == 0 or forced.first + len(drawn) > forced.last:
            watch(TokensWritten(forced.first + len(drawn), prompt.grids, time.perf_counter() - started))
    ids[forced.first : forced.last + 1] = torch.cat(drawn).tolist()
    sampler.finite.check()
    seconds = round(time.perf_counter() - started, 3)
    stats = Stats(seconds=seconds, tokens=int(forced.anew.sum()), forward_passes=len(drawn))
    return Grid.several([(grid.role, grid.shape) for grid in redraw.kept], ids), stats


def encode_grids(
    model: GlmImageForConditionalGeneration, processor: GlmImageProcessor, reading: Reading
) -> tuple[list[Grid], Stats]:
    """A picture's own codes, at the scale of the preview and of the target."""
    started = time.perf_counter()
    target = target_shape(reading.height, reading.width)
    shapes: tuple[tuple[Role, GridShape], ...] = (("preview", preview_shape(target)), ("target", target))
    grids = [encode_picture(model, processor, reading.image, role, shape) for role, shape in shapes]
    seconds = round(time.perf_counter() - started, 3)
    return grids, Stats(seconds=seconds, tokens=sum(grid.shape.cells for grid in grids), forward_passes=len(grids))
