"""A checkpoint of the real model's size that takes no disk: real names, shapes and dtypes, and holes for weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

HUB_ID = "zai-org/GLM-Image"
MORE_OF_TEXT = {
    "max_position_embeddings": 131072,
    "pad_token_id": 167841,
    "eos_token_id": 16385,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000,
        "partial_rotary_factor": 0.5,
        "mrope_section": [8, 12, 12],
    },
}
"""What a pass needs of the published configuration beside what a plan does."""

IMAGE_TOKENS = ("image_token_id", "image_start_token_id", "image_end_token_id")
"""Ids that are the borrowed processor's."""

STATISTICS = {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}


def build_full_size(folder: Path, small: Path, depth: int | None = None) -> Path:
    """Write the checkpoint into `folder`.

    small: one with a processor, tokenizer and scheduler to borrow
    depth: text layers and DiT blocks, for a model as wide as the real one and quicker to count; None for the real ones
    """
    import torch
    from diffusers import AutoencoderKL, GlmImageTransformer2DModel
    from transformers import GlmImageConfig, GlmImageForConditionalGeneration, T5Config, T5EncoderModel

    from glmimg.runtime.known import known_checkpoint

    known = known_checkpoint(HUB_ID)
    assert known is not None
    ar, dit, vae, glyphs = map(known.config, ("vision_language_encoder", "transformer", "vae", "text_encoder"))
    if depth is not None:
        ar["text_config"] = ar["text_config"] | {"num_hidden_layers": depth}
        dit |= {"num_layers": depth}
    borrowed = json.loads((small / "vision_language_encoder" / "config.json").read_text())
    ar |= {name: borrowed[name] for name in IMAGE_TOKENS} | {"text_config": ar["text_config"] | MORE_OF_TEXT}
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "vision_language_encoder": GlmImageForConditionalGeneration(GlmImageConfig(**ar)),
            "transformer": GlmImageTransformer2DModel.from_config(dit),
            "vae": AutoencoderKL.from_config(vae | STATISTICS),
            "text_encoder": T5EncoderModel(T5Config(**glyphs)),
        }
    for name, module in parts.items():
        place = folder / name
        place.mkdir(parents=True)
        (module.save_config if hasattr(module, "save_config") else module.config.save_pretrained)(place)
        stem = "diffusion_pytorch_model" if name in ("transformer", "vae") else "model"
        _dig(place / f"{stem}.safetensors", module, 4 if name == "text_encoder" else 2)
    for name in ("processor", "tokenizer", "scheduler"):
        shutil.copytree(small / name, folder / name)
    shutil.copy(small / "model_index.json", folder)
    return folder


def _dig(file: Path, module: Any, itemsize: int) -> None:
    """A file with a true header, and nothing behind it."""
    header, place = dict[str, Any](), 0
    for name, tensor in module.named_parameters():
        end = place + tensor.numel() * itemsize
        header[name] = {"dtype": {2: "BF16", 4: "F32"}[itemsize], "shape": list(tensor.shape)}
        header[name]["data_offsets"] = [place, end]
        place = end
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + place)
