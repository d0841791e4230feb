"""Put the trained parts together: a checkpoint folder in the diffusers layout of GLM-Image, weights in bfloat16."""

import json
from pathlib import Path

import torch
from transformers import GlmImageForConditionalGeneration

from glmimg.demo.train.ar_model import build_ar, generation_config
from glmimg.demo.train.codebook import Codebook, load_codebook
from glmimg.demo.train.dit_data import Pool
from glmimg.demo.train.dit_model import build_dit, build_glyph_encoder, build_scheduler
from glmimg.demo.train.progress import load_state
from glmimg.demo.train.tokenizer import build_processor, save_tokenizers
from glmimg.demo.train.vae import build_vae
from glmimg.demo.train.vision import write_vision
from glmimg.demo.train.world import save_world

TEMPERATURE, TOP_P = 0.6, 0.9
MODEL_INDEX = {
    "_class_name": "GlmImagePipeline",
    "_diffusers_version": "0.37.0",
    "text_encoder": ["transformers", "T5EncoderModel"],
    "vision_language_encoder": ["transformers", "GlmImageForConditionalGeneration"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "tokenizer": ["transformers", "ByT5Tokenizer"],
    "processor": ["transformers", "GlmImageProcessor"],
    "transformer": ["diffusers", "GlmImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def trained_ar(out: Path, codebook: Codebook) -> GlmImageForConditionalGeneration:
    """The AR stage of `out/ar.pt` with its written vision tower."""
    processor = build_processor()
    model = build_ar(codebook, len(processor.tokenizer), processor.image_token_id)
    model.load_state_dict((load_state(out / "ar.pt") or {})["model"])
    write_vision(model, codebook)
    model.generation_config = generation_config(processor.image_token_id, TEMPERATURE, TOP_P)
    return model


def assemble(out: Path, model: Path) -> int:
    """Write the checkpoint folder `model` from the training states in `out`; returns its size in bytes."""
    model.mkdir(parents=True, exist_ok=True)
    codebook = load_codebook(out / "codebook.npz")
    (model / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")
    trained_ar(out, codebook).bfloat16().save_pretrained(model / "vision_language_encoder")
    dit_state = load_state(out / "dit.pt") or {}
    dit, glyph = build_dit(codebook), build_glyph_encoder()
    dit.load_state_dict(dit_state["model"])
    glyph.load_state_dict(dit_state["glyph"])
    dit.bfloat16().save_pretrained(model / "transformer")
    glyph.bfloat16().save_pretrained(model / "text_encoder")
    pool: Pool = torch.load(out / "pool.pt", weights_only=False)
    vae = build_vae()
    vae.load_state_dict((load_state(out / "vae.pt") or {})["model"])
    vae.register_to_config(latents_mean=pool.mean.tolist(), latents_std=pool.std.tolist())
    vae.bfloat16().save_pretrained(model / "vae")
    build_scheduler().save_pretrained(model / "scheduler")
    save_tokenizers(model)
    save_world(model)
    _as_the_real_one(model / "processor")
    return sum(path.stat().st_size for path in model.rglob("*") if path.is_file())


def _as_the_real_one(processor: Path) -> None:
    """Store the image processor as GLM-Image does: its own file, pixel bounds by name."""
    stored = json.loads((processor / "processor_config.json").read_text())["image_processor"]
    size = stored.pop("size")
    images = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"], **stored}
    images["processor_class"] = "GlmImageProcessor"
    (processor / "preprocessor_config.json").write_text(json.dumps(images, indent=2) + "\n")
    (processor / "processor_config.json").unlink()


def trained_steps(out: Path) -> dict[str, int]:
    """How many steps each trainer has made."""
    return {name: (load_state(out / f"{name}.pt") or {"step": 0})["step"] for name in ("vae", "ar", "dit")}
