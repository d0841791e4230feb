"""Latents to pixels: the VAE's decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from glmimg.runtime.finite import check_finite

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def decode_latents(vae: AutoencoderKL, latents: torch.Tensor) -> Image.Image:
    """Paint one picture.

    latents: [1, channels, height / 8, width / 8], normalised by the VAE's own mean and deviation
    returns: an RGB picture
    raises:  NotFinite (exit 1)
    """
    latents = latents.to(vae.dtype)
    mean, deviation = latent_statistics(vae, latents)
    pixels = vae.decode(latents * deviation + mean, return_dict=False)[0]
    check_finite(pixels, "the decoded pixels")
    return to_image(pixels)


def latent_statistics(vae: AutoencoderKL, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the VAE's latents by channel, each [1, channels, 1, 1]."""
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1).to(like.device, like.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, deviation


def to_image(pixels: torch.Tensor) -> Image.Image:
    """[1, 3, height, width] in -1..1 to 8-bit RGB, rounded to the nearest.

    source: diffusers, `VaeImageProcessor.postprocess`
    """
    unit = (pixels * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).float().cpu().numpy()
    return Image.fromarray((unit * 255).round().astype("uint8"))
