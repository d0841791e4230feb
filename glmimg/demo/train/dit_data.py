"""A pool of scenes with their codes and VAE latents: what the DiT learns from."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from glmimg.demo.train.codebook import Codebook
from glmimg.demo.train.edits import random_edit
from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import Scene, lay_out, paint
from glmimg.demo.train.vae import to_unit

MAIN_GRID = (8, 8)
POOL_GRIDS = (  # grid, scenes without words, scenes with words
    (MAIN_GRID, 2600, 1500),
    *((grid, 40, 8) for grid in ((8, 12), (12, 8), (8, 10), (10, 8), (8, 16), (16, 8), (12, 12), (10, 12), (12, 16))),
    *((grid, 40, 8) for grid in ((16, 12), (16, 16), (10, 10), (14, 14), (9, 9), (11, 13), (13, 11))),
)
EDITS = 240


@dataclass(frozen=True)
class Pictures:
    """Pictures of one grid: codes int16 (n, rows, columns), latents float16 (n, channels, 4*rows, 4*columns), words."""

    codes: Tensor
    latents: Tensor
    words: list[str]


@dataclass(frozen=True)
class Pool:
    """`pictures[grid]`, and `edits[number of sources]`: lists of Pictures, the sources and last the targets."""

    pictures: dict[tuple[int, int], Pictures]
    edits: dict[int, list[Pictures]]
    mean: Tensor
    std: Tensor


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, codebook: Codebook, scenes: list[Scene], grid: tuple[int, int]) -> Pictures:
    """Draw scenes on a grid and encode them (latents as the VAE gives them, not normalised)."""
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # three times faster on CPU
    codes, latents = [], []
    for start in range(0, len(scenes), 4):
        layouts = [lay_out(scene, *grid) for scene in scenes[start : start + 4]]
        codes += [codebook.codes_of(layout) for layout in layouts]
        images = to_unit(np.stack([paint(layout) for layout in layouts]))
        latents.append(vae.encode(images).latent_dist.mode().half())
    stacked = torch.from_numpy(np.stack(codes)).to(torch.int16)
    return Pictures(stacked, torch.cat(latents), [scene.word for scene in scenes])


def build_pool(vae: AutoencoderKL, codebook: Codebook, path: Path) -> Pool:
    """Make the pool, or read it from `path` if it was made before; held-out scenes and edits are not in it."""
    if path.exists():
        stored: Pool = torch.load(path, weights_only=False)
        return stored
    rng = random.Random(21)
    pictures: dict[tuple[int, int], Pictures] = {}
    for grid, plain, worded in POOL_GRIDS:
        scenes = [random_scene(rng, words=0) for _ in range(plain)] + [random_scene(rng, 0, 1) for _ in range(worded)]
        pictures[grid] = encode_scenes(vae, codebook, scenes, grid)
    edits: dict[int, list[Pictures]] = {}
    for sources, tasks in ((1, ("background", "colour", "add", "remove")), (2, ("combine",))):
        drawn = [random_edit(rng, task=rng.choice(tasks)) for _ in range(EDITS // sources**2)]
        columns = [[edit.sources[i] for edit in drawn] for i in range(sources)] + [[edit.target for edit in drawn]]
        edits[sources] = [encode_scenes(vae, codebook, scenes, MAIN_GRID) for scenes in columns]
    latents = pictures[MAIN_GRID].latents.float()
    pool = Pool(pictures, edits, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    torch.save(pool, path)
    return pool


def upsample(codes: Tensor) -> Tensor:
    """Codes (B, rows, columns), one a 32x32 px cell, to prior ids int64 (B, 4*rows*columns), one a 16x16 px patch."""
    return codes.long().repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
