"""Full-size random weights on a GPU, decode against the stock one: `python -m tests.bench.gpu_decode [SIDE] [STEPS]`.

bf16, same tokens and seed, the two in turn; then the preset `fast`. Needs about 20 GB of device memory and no
checkpoint: the shapes are the published ones, the weights noise. Under 8 minutes on a data-centre card.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from glmimg.dit.parts import DecoderParts
from glmimg.dit.stage import DiTStage
from glmimg.engine.complete import complete_painting
from glmimg.grid import preview_shape, target_shape
from glmimg.job import Painting, Size
from glmimg.preset import load_preset
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.known import known_checkpoint
from glmimg.tokens.dump import Grid, ModelRef, SamplingRecord, Stats, TokenDump
from tests.bench.processes import keep
from tests.jobs import make_painting

PROMPT = "a sign that says 'OPEN'"


def random_parts(folder: Path, placement: Placement) -> DecoderParts:
    """Stage 2 of the published shape, its weights small noise made on the device itself."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    known = known_checkpoint("zai-org/GLM-Image")
    assert known is not None
    ByT5Tokenizer().save_pretrained(folder / "tokenizer")
    FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
    ).save_pretrained(folder / "scheduler")
    for part in ("transformer", "vae"):
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(known.config(part)))
    parts = DecoderParts(Checkpoint("random", folder), placement)
    vae = known.config("vae") | {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}
    with placement.device:
        torch.set_default_dtype(placement.dtype)
        parts.text_encoder = T5EncoderModel(T5Config(**known.config("text_encoder")))
        parts.transformer = GlmImageTransformer2DModel.from_config(known.config("transformer"))
        parts.vae = AutoencoderKL.from_config(vae)
        torch.set_default_dtype(torch.float32)
    for module in (parts.text_encoder, parts.transformer, parts.vae):
        module.eval().requires_grad_(False)
    return parts


def random_dump(side: int) -> TokenDump:
    """Random tokens for a square picture."""
    target = target_shape(side, side)
    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        drawn: list[int] = torch.randint(0, 16384, (count,), generator=generator).tolist()
        return drawn

    shapes = {"preview": preview_shape(target), "target": target}
    return TokenDump(
        prompt=PROMPT, height=side, width=side, seed=1,
        grids=[Grid.from_flat(role, shape, ids(shape.cells)) for role, shape in shapes.items()],
        model=ModelRef(id="random", revision=None, codebook_size=16384, fingerprint="none-none"),
        sampling=SamplingRecord(temperature=1.0, top_p=1.0), stats=Stats(seconds=0, tokens=0, forward_passes=0),
        glmimg="0",
    )  # fmt: skip


def stock(parts: DecoderParts, dump: TokenDump, steps: int) -> Callable[[], Any]:
    """The stock pipeline's decode of the same tokens."""
    from diffusers import GlmImagePipeline

    from glmimg.dit.conditioning import upsample

    pipeline = GlmImagePipeline(
        tokenizer=parts.tokenizer, processor=None, text_encoder=parts.text_encoder,
        vision_language_encoder=None, vae=parts.vae, transformer=parts.transformer,
        scheduler=parts.scheduler,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    device = parts.placement.device
    tokens = upsample(dump.target.tokens).to(device)
    return lambda: pipeline(
        dump.prompt, height=dump.height, width=dump.width, num_inference_steps=steps, guidance_scale=1.5,
        prior_token_ids=tokens, generator=torch.Generator(device).manual_seed(dump.seed),
    )  # fmt: skip


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one run, the device's queue included."""
    torch.accelerator.synchronize()
    started = time.perf_counter()
    run()
    torch.accelerator.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    side, steps = (int(each) for each in (*sys.argv[1:3], *("1024", "50")[len(sys.argv) - 1 :]))
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        sys.exit("no accelerator on this machine")
    with tempfile.TemporaryDirectory() as scratch:
        parts = random_parts(Path(scratch), Placement(accelerator, torch.bfloat16))
        dump, stage = random_dump(side), DiTStage(parts)
        exact = make_painting(1, steps, 1.5)
        fast = complete_painting(load_preset("fast").values, 1, Size(side, side))

        def ours(painting: Painting) -> Callable[[], Any]:
            return lambda: stage.paint(dump, painting, lambda event: None)

        theirs = stock(parts, dump, steps)
        seconds(ours(make_painting(1, 2, 1.5))), seconds(stock(parts, dump, 2))
        pairs = [(seconds(ours(exact)), seconds(theirs)) for _ in range(2)]
        base = statistics.median(pair[1] for pair in pairs)
        fast_seconds = seconds(ours(fast))
        keep(
            "gpu_decode",
            {
                "device": torch.cuda.get_device_name() if accelerator.type == "cuda" else accelerator.type,
                "size": f"{side}x{side}",
                "steps": steps,
                "stock_s": round(base, 2),
                "exact_ratio": round(statistics.median(a / b for a, b in pairs), 3),
                "fast_ratio": round(fast_seconds / base, 3),
                "peak_gb": round(torch.accelerator.memory.max_memory_allocated() / 1e9, 2),
            },
        )
