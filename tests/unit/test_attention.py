"""The DiT's attention against diffusers' own processor: the same values, bit for bit."""

from __future__ import annotations

import pytest
import torch

from glmimg.dit.attention import Attend, rotary_of
from glmimg.dit.backends import check_backend, usable_backends
from glmimg.errors import UsageError
from glmimg.runtime.device import Placement


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("glyphs", [0, 1, 5])
def test_it_is_what_diffusers_computes(dtype: torch.dtype, glyphs: int) -> None:
    from diffusers import GlmImageTransformer2DModel
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache

    torch.manual_seed(0)
    dit = GlmImageTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, attention_head_dim=40, num_attention_heads=2, text_embed_dim=24,
        time_embed_dim=32, condition_dim=16, prior_vq_quantizer_codebook_size=64,
    ).to(dtype)  # fmt: skip
    block, latents = dit.transformer_blocks[0], torch.zeros(1, 4, 12, 20)
    hidden, text, time = torch.randn(1, 60, 80), torch.randn(1, glyphs, 80), torch.randn(1, 32)
    inputs = [each.to(dtype) for each in (hidden, text, time)]
    with torch.inference_mode():
        for mode in (None, "write", "read"):
            outputs = []
            for processor, rotary in ((block.attn1.processor, dit.rope(latents)), (Attend(), rotary_of(dit, latents))):
                cache = GlmImageKVCache(1)
                cache[0].store(torch.ones(1, 3, 2, 40, dtype=dtype), torch.ones(1, 3, 2, 40, dtype=dtype))
                cache.set_mode(mode)
                stock, block.attn1.processor = block.attn1.processor, processor
                outputs.append((*block(*inputs, rotary, kv_cache=cache[0]), *cache[0].k_caches, *cache[0].v_caches))
                block.attn1.processor = stock
            assert all(torch.equal(theirs, ours) for theirs, ours in zip(*outputs, strict=True)), mode


HOST = Placement(torch.device("cpu"), torch.float32)


def test_kernels_that_run_on_the_processor() -> None:
    usable = usable_backends(HOST, 40)
    assert {"native", "_native_math"} <= set(usable)
    for backend in usable:
        check_backend(backend, HOST, 40)


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("nonesuch", "nonesuch is not registered"),
        ("sage", "install `sageattention"),
        ("_flash_3_hub", "install it with `pip install kernels"),
        ("_native_cudnn", "No viable backend"),
    ],
)
def test_kernels_that_do_not_are_refused_with_those_that_do(backend: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--attention {backend} cannot be used here: .*{why}") as refused:
        check_backend(backend, HOST, 40)
    assert "native" in (refused.value.hint or "")
    assert backend not in (refused.value.hint or "").removesuffix(".").split(", ")
