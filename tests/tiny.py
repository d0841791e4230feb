"""Random checkpoints in the real layout and architecture, made in a second or two.

The tests' stand-in for the real model: every part is of the class the real one has, saved by the
libraries' own `save_pretrained`. Sizes are parameters, so that benchmarks build larger ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPECIALS = ["<|endoftext|>", "<sop>", "<eop>", "<|image|>", "<|user|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' or c.image is defined %}{{ '<|start|><|image|><|end|>' }}"
    "{% elif c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Sizes:
    """What makes a checkpoint small or large.

    codebook:     visual codes; image start and end follow, then spare ids up to `vision_vocab`
    suppress:     whether the generation_config forbids ids outside the codebook, as the stock
                  pipeline needs to finish on random weights
    """

    codebook: int = 64
    vision_vocab: int = 80
    hidden: int = 32
    layers: int = 2
    ffn: int = 64
    dit_heads: int = 2
    dit_head_dim: int = 16
    dit_layers: int = 2
    positions: int = 4096
    vae_channels: tuple[int, ...] = (8, 8, 8, 8)
    vae_layers: int = 1
    sample_size: int = 128
    suppress: bool = True
    seed: int = 0


MID_SIZE = Sizes(
    codebook=1024, vision_vocab=1088, hidden=1024, layers=8, ffn=3072, dit_heads=12, dit_head_dim=64, dit_layers=13
)
"""About 400 MB each half in fp32: large enough that weights, not libraries, decide."""

IN_PROPORTION = Sizes(
    hidden=128, ffn=428, positions=8192, dit_head_dim=64, vae_channels=(4, 16, 32, 32), vae_layers=3, sample_size=1024
)
"""A 32nd of the real model's widths, and fewer layers: working memory of large pictures is shared out as there."""


def build_checkpoint(folder: Path, sizes: Sizes = Sizes(), spoil_ar: Callable[[Any], None] | None = None) -> Path:
    """Write a checkpoint into `folder` and return it; `spoil_ar` may change the AR model before it is saved."""
    import torch

    torch.manual_seed(sizes.seed)
    _save_ar(folder, sizes, spoil_ar)
    _save_dit(folder, sizes)
    classes = {
        "processor": ("transformers", "GlmImageProcessor"),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
        "text_encoder": ("transformers", "T5EncoderModel"),
        "tokenizer": ("transformers", "ByT5Tokenizer"),
        "transformer": ("diffusers", "GlmImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "vision_language_encoder": ("transformers", "GlmImageForConditionalGeneration"),
    }
    index = {"_class_name": "GlmImagePipeline", "_diffusers_version": "0.37.0"} | {
        part: list(names) for part, names in classes.items()
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))
    return folder


def store_as(folder: Path, dtype: str) -> None:
    """Write every weight file of a checkpoint again in another float dtype, such as "bfloat16"."""
    import torch
    from safetensors.torch import load_file, save_file

    for file in folder.rglob("*.safetensors"):
        weights = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})


def _save_ar(folder: Path, sizes: Sizes, spoil: Callable[[Any], None] | None) -> None:
    from transformers import GlmImageConfig, GlmImageForConditionalGeneration

    processor, ids = _processor(sizes)
    processor.save_pretrained(folder / "processor")
    config = GlmImageConfig(
        image_token_id=ids["<|image|>"],
        image_start_token_id=sizes.codebook,
        image_end_token_id=sizes.codebook + 1,
        text_config={
            "vocab_size": len(processor.tokenizer),
            "vision_vocab_size": sizes.vision_vocab,
            "hidden_size": sizes.hidden,
            "intermediate_size": sizes.ffn,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": sizes.positions,
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": sizes.codebook + 1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000,
                "partial_rotary_factor": 0.5,
                "mrope_section": _mrope_section(sizes.hidden // 4 // 4),
            },
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "depth": 2,
            "num_heads": 2,
            "image_size": 512,
            "patch_size": 16,
        },
        vq_config={"embed_dim": 16, "latent_channels": 32, "num_embeddings": sizes.codebook},
    )
    model = GlmImageForConditionalGeneration(config).eval()
    generation = model.generation_config
    generation.update(do_sample=True, temperature=0.9, top_p=0.75, top_k=sizes.vision_vocab)
    generation.update(eos_token_id=sizes.codebook + 1, pad_token_id=ids["<|image|>"])
    if sizes.suppress:
        generation.suppress_tokens = list(range(sizes.codebook, sizes.vision_vocab))
    if spoil is not None:
        spoil(model)
    model.save_pretrained(folder / "vision_language_encoder")


def _mrope_section(frequencies: int) -> list[int]:
    """Time gets the fewest frequencies, rows and columns share the rest; they add up."""
    rows = frequencies // 3 or 1
    return [max(frequencies - 2 * rows, 0), rows, rows] if frequencies > 2 else [1] * frequencies


def _processor(sizes: Sizes) -> tuple[Any, dict[str, int]]:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import GlmImageImageProcessor, GlmImageProcessor, PreTrainedTokenizerFast

    visual = [f"<|dit_{number}|>" for number in range(sizes.vision_vocab)]
    visual[sizes.codebook : sizes.codebook + 2] = ["<|start|>", "<|end|>"]
    vocabulary = visual + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["<|start|>", "<|end|>", *SPECIALS]
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens={"image_token": "<|image|>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"},
    )
    images = GlmImageImageProcessor(
        size={"shortest_edge": 64 * 64, "longest_edge": 512 * 512},
        patch_size=16,
        temporal_patch_size=1,
        merge_size=1,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor = GlmImageProcessor(image_processor=images, tokenizer=fast, chat_template=CHAT_TEMPLATE)
    return processor, {mark: fast.convert_tokens_to_ids(mark) for mark in marks}


def _save_dit(folder: Path, sizes: Sizes) -> None:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    T5EncoderModel(
        T5Config(vocab_size=384, d_model=24, d_ff=48, d_kv=8, num_heads=2, num_layers=2, feed_forward_proj="gated-gelu")
    ).save_pretrained(folder / "text_encoder")
    ByT5Tokenizer().save_pretrained(folder / "tokenizer")
    GlmImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=sizes.dit_layers,
        attention_head_dim=sizes.dit_head_dim,
        num_attention_heads=sizes.dit_heads,
        text_embed_dim=24,
        time_embed_dim=32,
        condition_dim=16,
        prior_vq_quantizer_codebook_size=sizes.codebook,
    ).save_pretrained(folder / "transformer")
    AutoencoderKL(
        block_out_channels=sizes.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=sizes.vae_layers,
        latent_channels=4,
        norm_num_groups=2,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.1, 0.9, 1.2, 1.0],
        sample_size=sizes.sample_size,
    ).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
    ).save_pretrained(folder / "scheduler")
