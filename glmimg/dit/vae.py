"""From latents to pixels and back: the VAE's two halves.

Where a whole decode does not fit, the decoder works in strips of rows. A convolution of some rows needs one more on
each side; only the group norms look at the whole map, and their statistics are gathered beforehand, strip by strip. So
the picture is that of a whole decode, to rounding, and has no seams. Upsampled maps, which have the channels of the
resolution before on four times the area, are never whole in memory: their rows are computed again when they are needed
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from glmimg.runtime.finite import check_finite
from glmimg.runtime.layout import STRIP_ROWS

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from diffusers.models.autoencoders.vae import Decoder
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

Layer = Callable[[Tensor], Tensor]
Rows = Callable[[int, int], Tensor]
"""From `top` and `bottom` to these rows of a map, [1, channels, bottom - top, width]."""


def decode_latents(vae: AutoencoderKL, latents: Tensor, *, in_strips: bool = False) -> Image.Image:
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


def encode_image(vae: AutoencoderKL, image: Image.Image, dtype: torch.dtype) -> Tensor:
    """The VAE's most likely latents of an RGB picture, normalised: [1, channels, height / 8, width / 8]."""
    from diffusers.image_processor import VaeImageProcessor

    pixels = VaeImageProcessor().preprocess(image).to(vae.device, dtype)
    latents = vae.encode(pixels).latent_dist.mode()
    mean, deviation = latent_statistics(vae, latents)
    return (latents - mean) / deviation  # type: ignore[no-any-return]


def latent_statistics(vae: AutoencoderKL, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the VAE's latents by channel, each [1, channels, 1, 1]."""
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1).to(like.device, like.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, deviation


def decode_in_strips(decoder: Decoder, latents: Tensor) -> Tensor:
    """What `decoder(latents)` returns, [1, 3, height, width]. Its up blocks are diffusers' `UpDecoderBlock2D`."""
    hidden: Any = decoder.mid_block(decoder.conv_in(latents))
    for resnet in decoder.up_blocks[0].resnets:
        hidden = resnet(hidden, None)
    for before, block in pairwise(decoder.up_blocks):
        first, *others = block.resnets
        large = hidden.new_empty(1, first.out_channels, 2 * hidden.shape[2], 2 * hidden.shape[3])
        hidden = _run(first, _upsampled(before.upsamplers[0], hidden), large)
        for resnet in others:
            _run(resnet, _rows_of(hidden), hidden)
    strips = _convolve(decoder.conv_norm_out, decoder.conv_act, decoder.conv_out, _rows_of(hidden), hidden.shape[2])
    return torch.cat([pixels for _, _, pixels in strips], dim=2)


def _run(resnet: ResnetBlock2D, rows: Rows, out: Tensor) -> Tensor:
    """Run a residual block on a map; its result is in `out`, which may be that map."""
    inner, height, act = torch.empty_like(out), out.shape[2], resnet.nonlinearity
    for strip, given, convolved in _convolve(resnet.norm1, act, resnet.conv1, rows, height):
        inner[:, :, strip] = convolved
        out[:, :, strip] = given if resnet.conv_shortcut is None else resnet.conv_shortcut(given)
    for strip, _, convolved in _convolve(resnet.norm2, act, resnet.conv2, _rows_of(inner), height):
        out[:, :, strip] += convolved
    return out


def _convolve(
    norm: nn.GroupNorm, act: nn.Module, conv: nn.Module, rows: Rows, height: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """`conv(act(norm(map)))` of a map: the place of each strip, its rows of the map and of the result."""
    strips = [slice(top, min(top + STRIP_ROWS, height)) for top in range(0, height, STRIP_ROWS)]
    normalise = _whole_norm(norm, (rows(strip.start, strip.stop) for strip in strips))
    for strip in strips:
        top, bottom = max(strip.start - 1, 0), min(strip.stop + 1, height)
        inside, given = slice(strip.start - top, strip.stop - top), rows(top, bottom)
        yield strip, given[:, :, inside], conv(act(normalise(given)))[:, :, inside]


def _whole_norm(norm: nn.GroupNorm, strips: Iterable[Tensor]) -> Layer:
    """The group norm of a map, by the statistics of all its strips, for any rows of it."""

    def look(strip: Tensor) -> tuple[int, Tensor]:
        groups = strip.float().reshape(norm.num_groups, -1)
        return strip.shape[2], torch.stack(torch.var_mean(groups, dim=1, correction=0))

    counts, moments = zip(*map(look, strips), strict=True)  # no strip stays while the next one comes
    shares = torch.tensor(counts, device=moments[0].device).unsqueeze(1) / sum(counts)
    variances, means = torch.stack(moments, dim=1)
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(0)
    scale = norm.weight * (variance + norm.eps).rsqrt().repeat_interleave(norm.num_channels // norm.num_groups)
    shift = norm.bias - scale * mean.repeat_interleave(norm.num_channels // norm.num_groups)
    scale, shift = (each.float().view(-1, 1, 1) for each in (scale, shift))
    return lambda rows: rows.to(torch.float32, copy=True).mul_(scale).add_(shift).to(rows.dtype)


def _upsampled(upsampler: Upsample2D, small: Tensor) -> Rows:
    """Rows of a map at twice the resolution of `small`, computed when they are asked for."""

    def rows(top: int, bottom: int) -> Tensor:
        first = max(top - 1, 0) // 2
        upsampled: Tensor = upsampler(small[:, :, first : bottom // 2 + 1])
        return upsampled[:, :, top - 2 * first : bottom - 2 * first]

    return rows


def _rows_of(whole: Tensor) -> Rows:
    return lambda top, bottom: whole[:, :, top:bottom]
