"""Phase 1: the VAE, an AutoencoderKL of 0.8 million parameters, trained on crops of rendered scenes."""

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from glmimg.demo.train.progress import Journal, load_state, rate_at, restore, save_state, set_up_torch
from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import CELL_PX, lay_out, paint

STEPS, WARMUP, BATCH, CROP_PX, RATE = 3200, 100, 8, 96, 2e-3
CONSTANT_CHANNELS = 4


def build_vae() -> AutoencoderKL:
    """An untrained VAE that already passes flat colours through.

    One norm group, residual branches at zero, shortcuts as identity, resampling as averaging, and a few constant
    channels that keep the norm's scale steady: without them GroupNorm erases flat colour, which is all there is here.
    """
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=1,
        sample_size=256,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        latents_mean=[0.0] * 8,
        latents_std=[1.0] * 8,
    )
    with torch.no_grad():
        for name, module in vae.named_modules():
            if isinstance(module, nn.Conv2d):
                _start_convolution(name, module)
    return vae


def _start_convolution(name: str, conv: nn.Conv2d) -> None:
    if name.endswith("conv2"):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    elif name.endswith("conv_shortcut"):
        _identity(conv, 0, 1)
    elif "downsamplers" in name:
        _identity(conv, 0, 2)
    elif "upsamplers" in name:
        _identity(conv, 1, 1)
    elif name.endswith("conv_in"):
        conv.weight[-CONSTANT_CHANNELS:] = 0
        conv.bias[-CONSTANT_CHANNELS:] = torch.tensor([2.0, -2.0, 2.0, -2.0])  # type: ignore[index]


def _identity(conv: nn.Conv2d, at: int, width: int) -> None:
    """Make a convolution copy channel to channel, averaging `width` x `width` taps from tap `at` on."""
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    conv.weight.mul_(0.1)
    same = torch.eye(conv.out_channels, conv.in_channels)
    if conv.out_channels < conv.in_channels:  # the constant channels are the last ones: keep those too
        same[-CONSTANT_CHANNELS:] = 0
        same[-CONSTANT_CHANNELS:, -CONSTANT_CHANNELS:] = torch.eye(CONSTANT_CHANNELS)
    elif conv.out_channels > conv.in_channels:
        same[-CONSTANT_CHANNELS:, -CONSTANT_CHANNELS:] = torch.eye(CONSTANT_CHANNELS)
    conv.weight[:, :, at : at + width, at : at + width] += same[:, :, None, None] / width**2


def random_crop(rng: random.Random) -> np.ndarray:
    """A crop of a scene, rarely flat, uint8 (CROP_PX, CROP_PX, 3); one in four off the cell raster, one in four recoloured."""
    layout = lay_out(random_scene(rng, words=0.25), *rng.choice(((8, 8), (8, 8), (16, 16), (8, 12), (13, 10))))
    pixels, span = paint(layout), CROP_PX // CELL_PX
    edges = np.argwhere(layout.tile > 1)
    rows, columns = layout.tile.shape
    if len(edges) and rng.random() < 0.9:
        row, column = edges[rng.randrange(len(edges))]
        row, column = row - rng.randrange(span), column - rng.randrange(span)
    else:
        row, column = rng.randrange(rows), rng.randrange(columns)
    off = (rng.randrange(-16, 17), rng.randrange(-16, 17)) if rng.random() < 0.25 else (0, 0)
    top = min(max(0, row * CELL_PX + off[0]), rows * CELL_PX - CROP_PX)
    left = min(max(0, column * CELL_PX + off[1]), columns * CELL_PX - CROP_PX)
    crop = pixels[top : top + CROP_PX, left : left + CROP_PX]
    if rng.random() < 0.25:
        mix = np.array([[rng.uniform(-1, 1) for _ in range(3)] for _ in range(3)])
        crop = np.clip((crop - 127.5) @ mix + rng.uniform(40, 215), 0, 255).astype(np.uint8)
    return crop


def to_unit(pixels: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in -1..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)  # channels last in memory


def vae_loss(vae: AutoencoderKL, images: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, mean absolute error in 0..255) of a batch of images in -1..1."""
    posterior = vae.encode(images).latent_dist
    error = vae.decode(posterior.sample()).sample - images
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    loss = error.abs().mean() + F.avg_pool2d(error, 8).abs().mean() + 2e-4 * kl
    return loss, error.abs().mean().detach() * 127.5


def train_vae(out: Path, steps: int = STEPS) -> None:
    """Train for `steps` steps in all, going on from `out/vae.pt` if it exists."""
    set_up_torch(1)
    vae = build_vae().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # three times faster on CPU
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    state, first = load_state(out / "vae.pt"), 0
    if state:
        vae.load_state_dict(state["model"])
        restore([optimizer], state["optimizers"])
        first = state["step"]
    journal = Journal("vae", 50)
    rng = random.Random(f"vae {first}")
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate_at(step, steps, WARMUP, flat=0.15)
        loss, error = vae_loss(vae, to_unit(np.stack([random_crop(rng) for _ in range(BATCH)])))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        journal.tell(step + 1, loss=loss.item(), error255=error.item())
        if (step + 1) % 200 == 0 or step + 1 == steps:
            save_state(out / "vae.pt", model=vae.state_dict(), optimizers=[optimizer.state_dict()], step=step + 1)
