"""The same work by the stock libraries on the same modules: transformers' `generate`, diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from glmimg.ar.prompt import read_inputs
from glmimg.ar.stage import ARStage
from glmimg.dit.conditioning import upsample
from glmimg.dit.stage import DiTStage
from glmimg.job import Job, Painting
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image


@torch.inference_mode()
def stock_tokens(stage: ARStage, job: Job, count: int) -> list[int]:
    """So many first tokens of a job without sources, as `generate` draws them from torch's own random stream."""
    model, law = stage.model, job.sampling
    inputs = read_inputs(job.scene.prompt, *job.scene.size, stage.processor, []).to(model.device)
    exactly = {"max_new_tokens": count, "min_new_tokens": count}
    sampling = {"temperature": law.temperature, "top_p": law.top_p, "top_k": law.top_k or 0}
    suppressed = stage.checkpoint.generation_config.get("suppress_tokens")
    with torch.random.fork_rng(devices=[]):  # `generate` takes no generator of its own
        torch.default_generator.manual_seed(law.seed)
        ids = model.generate(**inputs, **exactly, do_sample=True, suppress_tokens=suppressed, **sampling)
    drawn: list[int] = ids[0, inputs["input_ids"].shape[1] :].tolist()
    return drawn


def stock_picture(
    stage: DiTStage, dump: TokenDump, painting: Painting, on_step: Callable[[int], None] = lambda number: None
) -> Image:
    """The dump's target as diffusers' pipeline paints it. on_step: told the number of each finished step, from 1"""
    from diffusers import GlmImagePipeline
    from diffusers.models.transformers.transformer_glm_image import GlmImageAttnProcessor

    parts, attentions = stage.parts, [block.attn1 for block in stage.parts.transformer.transformer_blocks]
    modules = {name: getattr(parts, name) for name in ("tokenizer", "text_encoder", "vae", "transformer", "scheduler")}
    pipeline: Any = GlmImagePipeline(**modules, processor=None, vision_language_encoder=None)
    pipeline.set_progress_bar_config(disable=True)

    def told(_: Any, index: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        on_step(index + 1)
        return kept

    own = [attention.processor for attention in attentions]
    try:
        for attention in attentions:
            attention.processor = GlmImageAttnProcessor()
        picture: Image = pipeline(
            dump.prompt,
            height=dump.height,
            width=dump.width,
            num_inference_steps=painting.steps,
            guidance_scale=painting.guidance,
            prior_token_ids=upsample(dump.target.tokens).to(parts.placement.device),
            latents=stage.noise(dump, painting),
            callback_on_step_end=told,
        ).images[0]
    finally:
        for attention, processor in zip(attentions, own, strict=True):
            attention.processor = processor
    return picture
