"""From latents to pixels and back: the VAE's two halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from glmimg.dit.strips import decode_in_strips
from glmimg.runtime.finite import check_finite

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def decode_latents(vae: AutoencoderKL, latents: torch.Tensor, *, in_strips: bool = False) -> Image.Image:
    """Paint one picture.

    latents: [1, channels, height / 8, width / 8], normalised by the VAE's own mean and deviation
    in_strips: with less memory; a VAE with attention in its up blocks decodes whole nevertheless
    returns: an RGB picture, each value rounded to the nearest
    raises:  NotFinite (exit 1)
    source:  diffusers, `VaeImageProcessor.postprocess`
    """
    latents = latents.to(vae.dtype)
    mean, deviation = latent_statistics(vae, latents)
    latents = latents * deviation + mean
    if in_strips and set(vae.config.up_block_types) == {"UpDecoderBlock2D"}:
        pixels = decode_in_strips(vae.decoder, latents if vae.post_quant_conv is None else vae.post_quant_conv(latents))
    else:
        pixels = vae.decode(latents, return_dict=False)[0]
    check_finite(pixels, "the decoded pixels")
    unit = (pixels * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).float().cpu().numpy()
    return Image.fromarray((unit * 255).round().astype("uint8"))


def encode_image(vae: AutoencoderKL, image: Image.Image, dtype: torch.dtype) -> torch.Tensor:
    """The VAE's most likely latents of an RGB picture, normalised: [1, channels, height / 8, width / 8]."""
    from diffusers.image_processor import VaeImageProcessor

    pixels = VaeImageProcessor().preprocess(image).to(vae.device, dtype)
    latents = vae.encode(pixels).latent_dist.mode()
    mean, deviation = latent_statistics(vae, latents)
    return (latents - mean) / deviation  # type: ignore[no-any-return]


def latent_statistics(vae: AutoencoderKL, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the VAE's latents by channel, each [1, channels, 1, 1]."""
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1).to(like.device, like.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, deviation
