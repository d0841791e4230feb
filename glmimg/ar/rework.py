"""Stage 1 beyond drawing from a prompt: score tokens, draw part of them anew, read them off a picture."""

from __future__ import annotations

import time

import torch

from glmimg import __version__
from glmimg.ar.encode import encode_picture
from glmimg.ar.prompt import build_prompt
from glmimg.ar.redraw import forced_tokens, redraw_tokens
from glmimg.ar.sampling import TokenSampler
from glmimg.ar.scoring import score_grids
from glmimg.ar.stage import REPORT_EVERY, ARStage
from glmimg.errors import UsageError
from glmimg.events import TokensWritten, Watch
from glmimg.grid import GridShape, Role, preview_shape, target_shape
from glmimg.tokens.change import FROM_IMAGE, REDRAW, Reading, Redraw
from glmimg.tokens.dump import Grid, SamplingRecord, Stats, TokenDump


@torch.inference_mode()
def score_dump(stage: ARStage, dump: TokenDump) -> TokenDump:
    """The dump with log-probabilities and entropies. Raises UsageError (exit 2) for dumps of edits."""
    _refuse_edits(dump)
    prompt = build_prompt(dump.prompt, dump.height, dump.width, stage.processor, stage.model)
    grids = score_grids(stage.model, prompt, dump.grids, stage.checkpoint.codebook_size)
    return dump.model_copy(update={"grids": grids})


@torch.inference_mode()
def redraw_dump(stage: ARStage, redraw: Redraw, watch: Watch) -> TokenDump:
    """Draw the asked cells anew, the others forced. Raises UsageError (exit 2) as `ARStage.write`."""
    job = redraw.job
    prompt = build_prompt(job.prompt, job.height, job.width, stage.processor, stage.model)
    stage.check_context(prompt)
    generator = torch.Generator(stage.model.device).manual_seed(job.seed)
    suppressed = stage.checkpoint.generation_config.get("suppress_tokens", ())
    sampler = TokenSampler(job.sampling, [generator], stage.checkpoint.codebook_size, suppressed)
    ids = [token for grid in redraw.kept for token in grid.flat()]
    forced = forced_tokens(ids, [cell for mask in redraw.anew for row in mask for cell in row], stage.model.device)
    started = time.perf_counter()
    drawn: list[torch.Tensor] = []
    for token in redraw_tokens(stage.model, prompt, sampler, forced):
        drawn.append(token)
        if len(drawn) % REPORT_EVERY == 0 or forced.first + len(drawn) > forced.last:
            watch(TokensWritten(forced.first + len(drawn), prompt.grids, time.perf_counter() - started))
    ids[forced.first : forced.last + 1] = torch.cat(drawn).tolist()
    seconds = round(time.perf_counter() - started, 3)
    stats = Stats(seconds=seconds, tokens=int(forced.anew.sum()), forward_passes=len(drawn))
    return _dump(stage, redraw, ids, stats)


@torch.inference_mode()
def read_picture(stage: ARStage, reading: Reading) -> TokenDump:
    """The dump of a picture's own codes, at the scale of the preview and of the target."""
    started = time.perf_counter()
    target = target_shape(reading.height, reading.width)
    shapes: tuple[tuple[Role, GridShape], ...] = (("preview", preview_shape(target)), ("target", target))
    grids = [encode_picture(stage.model, stage.processor, reading.image, role, shape) for role, shape in shapes]
    seconds = round(time.perf_counter() - started, 3)
    return TokenDump(
        prompt=reading.prompt,
        height=reading.height,
        width=reading.width,
        seed=reading.seed,
        grids=grids,
        model=stage.model_ref,
        sampling=SamplingRecord(temperature=1.0, top_p=1.0, method=FROM_IMAGE),
        stats=Stats(seconds=seconds, tokens=sum(grid.shape.cells for grid in grids), forward_passes=len(grids)),
        parents=[reading.parent],
        glmimg=__version__,
    )


def _dump(stage: ARStage, redraw: Redraw, ids: list[int], stats: Stats) -> TokenDump:
    job, grids, start = redraw.job, [], 0
    for grid in redraw.kept:
        grids.append(Grid.from_flat(grid.role, grid.shape, ids[start : start + grid.shape.cells]))
        start += grid.shape.cells
    sampling = job.sampling
    return TokenDump(
        prompt=job.prompt,
        height=job.height,
        width=job.width,
        seed=job.seed,
        grids=grids,
        model=stage.model_ref,
        sampling=SamplingRecord(
            temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, method=REDRAW
        ),
        stats=stats,
        parents=list(redraw.parents),
        glmimg=__version__,
    )


def _refuse_edits(dump: TokenDump) -> None:
    if dump.sources:
        raise UsageError("this dump is of an edit; only dumps without sources can be scored or redrawn", "")
