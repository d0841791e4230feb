"""Put the trained parts together: a checkpoint folder in the diffusers layout of GLM-Image, weights in bfloat16.

And take one apart again, so that training can go on from the weights that are shipped.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import GlmImageForConditionalGeneration, T5EncoderModel

from glmimg.demo.train.ar_model import build_ar, generation_config
from glmimg.demo.train.codebook import Codebook, build_codebook, load_codebook
from glmimg.demo.train.dit_data import Pool
from glmimg.demo.train.dit_model import build_dit, build_glyph_encoder, build_scheduler
from glmimg.demo.train.progress import load_state, save_state
from glmimg.demo.train.tokenizer import build_processor, save_tokenizers
from glmimg.demo.train.vae import build_vae
from glmimg.demo.train.vision import write_vision
from glmimg.demo.train.world import save_world

TEMPERATURE, TOP_P = 0.6, 0.9
SHIPPED_STEPS = {"ar": 15000, "dit": 5000, "vae": 3200}
"""How many steps each part of the shipped checkpoint was trained for."""

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


def take_apart(model: Path, out: Path, steps: dict[str, int]) -> None:
    """Write training states from a checkpoint folder: its weights, with fresh optimizers.

    steps: how many each part has been trained for, which says where in its courses it goes on
    """
    out.mkdir(parents=True, exist_ok=True)
    build_codebook().save(out / "codebook.npz")

    def weights(part: str) -> dict[str, Tensor]:
        (file,) = (model / part).glob("*.safetensors")
        return {name: tensor.float() for name, tensor in load_file(file).items()}

    save_state(out / "ar.pt", model=weights("vision_language_encoder"), optimizers=None, step=steps["ar"])
    save_state(out / "vae.pt", model=weights("vae"), optimizers=None, step=steps["vae"])
    glyph = T5EncoderModel.from_pretrained(model / "text_encoder", dtype=torch.float32).state_dict()
    save_state(out / "dit.pt", model=weights("transformer"), glyph=glyph, optimizers=None, step=steps["dit"])


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
