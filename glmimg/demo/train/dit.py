"""Phase 3: the DiT and the glyph encoder, trained by flow matching on the pool's latents."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import GlmImageTransformer2DModel
from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache
from torch import Tensor, nn
from transformers import ByT5Tokenizer, T5EncoderModel

from glmimg.demo.train.codebook import load_codebook
from glmimg.demo.train.dit_data import MAIN_GRID, Pictures, Pool, build_pool, upsample
from glmimg.demo.train.dit_model import build_dit, build_glyph_encoder
from glmimg.demo.train.muon import Muon
from glmimg.demo.train.progress import (
    Journal,
    load_state,
    matrix_precision,
    rate_in_course,
    restore,
    save_state,
    set_up_torch,
)
from glmimg.demo.train.vae import build_vae

COURSES = ((2200, 1.0), (5000, 0.5))
STEPS, WARMUP, MATRIX_RATE, VECTOR_RATE = COURSES[-1][0], 60, 0.01, 1.5e-3
LATENT_TOKENS_A_BATCH = 3072
PRIOR_DROPPED = 0.1
OTHER_GRIDS, EDITS = 0.15, 0.12  # shares of the batches
WORDS = (0.1, 0.4)  # in each course, of the batches left
EDITS_FROM = 1500


@dataclass(frozen=True)
class DitBatch:
    """latents float32 (B, C, h, w), normalised; prior int64 (B, h*w/4); sources: the same pairs for an edit's pictures."""

    latents: Tensor
    prior: Tensor
    sources: list[tuple[Tensor, Tensor]]
    word_length: int
    words: list[str]


class DitBatches:
    """Random batches from the pool: one grid, one word length, one number of sources each."""

    def __init__(self, pool: Pool, rng: random.Random) -> None:
        self.pool, self.rng = pool, rng
        self.by_length: dict[tuple[tuple[int, int], int], list[int]] = {}
        for grid, pictures in pool.pictures.items():
            for i, word in enumerate(pictures.words):
                self.by_length.setdefault((grid, len(word)), []).append(i)

    def _pick(self, pictures: Pictures, rows: list[int]) -> tuple[Tensor, Tensor]:
        mean, std = self.pool.mean[:, None, None], self.pool.std[:, None, None]
        return (pictures.latents[rows].float() - mean) / std, upsample(pictures.codes[rows])

    def draw(self, with_edits: bool, words: float) -> DitBatch:
        """The next batch; `words`: share of the 256x256 ones that show a word."""
        if with_edits and self.rng.random() < EDITS:
            columns = self.pool.edits[2 if self.rng.random() < 0.3 else 1]
            rows = self.rng.sample(range(len(columns[0].words)), 12 // len(columns))
            *sources, (latents, prior) = [self._pick(pictures, rows) for pictures in columns]
            return DitBatch(latents, prior, sources, 0, [""] * len(rows))
        grid = self.rng.choice(list(self.pool.pictures)) if self.rng.random() < OTHER_GRIDS else MAIN_GRID
        size = max(2, LATENT_TOKENS_A_BATCH // (4 * grid[0] * grid[1]))
        length = 0
        if grid == MAIN_GRID and self.rng.random() < words:
            length = self.rng.choice([n for g, n in self.by_length if g == grid and n])
        rows = self.rng.choices(self.by_length[grid, length], k=size)
        pictures = self.pool.pictures[grid]
        return DitBatch(*self._pick(pictures, rows), [], length, [pictures.words[i] for i in rows])


class GlyphTexts:
    """The glyph encoder with its tokenizer, for batches of texts of one length."""

    def __init__(self, encoder: T5EncoderModel) -> None:
        self.encoder, self.tokenizer = encoder, ByT5Tokenizer()

    def __call__(self, texts: list[str]) -> Tensor:
        """float32 (len(texts), bytes + 1, d_model)."""
        ids = torch.tensor(self.tokenizer(texts).input_ids)
        return self.encoder(ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def velocity(
    dit: GlmImageTransformer2DModel,
    noisy: Tensor,
    glyphs: Tensor,
    prior: Tensor,
    dropped: Tensor,
    sigma: Tensor,
    cache: GlmImageKVCache | None = None,
) -> Tensor:
    """The DiT's output for (B, C, h, w) noisy latents, called exactly as the pipeline does (sigma in 0..1)."""
    height, width = noisy.shape[-2] * 8, noisy.shape[-1] * 8
    return dit(
        hidden_states=noisy,
        encoder_hidden_states=glyphs,
        prior_token_id=prior,
        prior_token_drop=dropped[:, None].expand_as(prior),
        timestep=sigma,
        target_size=torch.tensor([[height, width]], dtype=torch.float32).expand(len(noisy), 2),
        crop_coords=torch.zeros(len(noisy), 2),
        return_dict=False,
        kv_caches=cache,
    )[0]


def read_sources(dit: GlmImageTransformer2DModel, batch: DitBatch) -> GlmImageKVCache | None:
    """Keys and values of an edit's source pictures, or None for text-to-image."""
    if not batch.sources:
        return None
    cache = GlmImageKVCache(num_layers=dit.config.num_layers)
    cache.set_mode("write")
    rows = len(batch.latents)
    none, zero = torch.zeros(rows, 0, dit.config.text_embed_dim), torch.zeros(rows)
    for latents, prior in batch.sources:
        velocity(dit, latents, none, prior, zero.bool(), zero, cache)
    cache.set_mode("read")
    return cache


def dit_loss(dit: GlmImageTransformer2DModel, glyph: GlyphTexts, batch: DitBatch, noise_of: torch.Generator) -> Tensor:
    """Flow matching: the velocity noise - latents, at times drawn nearer to noise, where the codes matter."""
    rows = len(batch.latents)
    sigma = torch.sigmoid(1.2 * torch.randn(rows, generator=noise_of) + 1)
    noise = torch.randn(batch.latents.shape, generator=noise_of)
    noisy = torch.lerp(batch.latents, noise, sigma[:, None, None, None])
    # The unconditional branch knows neither codes nor glyphs nor sources.
    dropped = torch.rand(rows, generator=noise_of) < PRIOR_DROPPED
    if batch.sources or batch.word_length:
        dropped.zero_()
    glyphs = glyph([""]).expand(rows, -1, -1) if not batch.word_length else glyph(batch.words)
    cache = read_sources(dit, batch)
    timestep = (sigma * 1000 - 1).clamp(min=0)
    predicted = velocity(dit, noisy, glyphs, batch.prior, dropped, timestep, cache)
    return (predicted.float() - (noise - batch.latents)).square().mean()


def make_optimizers(dit: GlmImageTransformer2DModel, glyph: T5EncoderModel) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' attention and MLP matrices, AdamW for all else."""
    matrices = [p for name, p in dit.transformer_blocks.named_parameters() if p.ndim == 2 and "norm" not in name]
    chosen = {id(p) for p in matrices}
    rest = [p for p in [*dit.parameters(), *glyph.parameters()] if id(p) not in chosen]
    return [
        Muon(matrices, lr=MATRIX_RATE, decay=0.01),
        torch.optim.AdamW(rest, lr=VECTOR_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train_dit(out: Path) -> None:
    """Train for STEPS steps in all, going on from `out/dit.pt`; needs `out/vae.pt` and `out/codebook.npz`."""
    set_up_torch(3)
    codebook, vae = load_codebook(out / "codebook.npz"), build_vae()
    vae.load_state_dict((load_state(out / "vae.pt") or {})["model"])
    pool = build_pool(vae.eval(), codebook, out / "pool.pt")
    dit, encoder = build_dit(codebook), build_glyph_encoder()
    optimizers = make_optimizers(dit, encoder)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    state, first = load_state(out / "dit.pt"), 0
    if state:
        dit.load_state_dict(state["model"])
        encoder.load_state_dict(state["glyph"])
        restore(optimizers, state["optimizers"])
        first = state["step"]
    batches, glyph, journal = DitBatches(pool, random.Random(f"dit {first}")), GlyphTexts(encoder), Journal("dit", 25)
    noise_of = torch.Generator().manual_seed(1000 + first)
    for step in range(first, STEPS):
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_in_course(step, COURSES, WARMUP)
        with matrix_precision():
            loss = dit_loss(dit, glyph, batches.draw(step >= EDITS_FROM, WORDS[step >= COURSES[0][0]]), noise_of)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*dit.parameters(), *encoder.parameters()], 1.0)
        for optimizer in optimizers:
            optimizer.step()
        journal.tell(step + 1, loss=loss.item())
        if (step + 1) % 200 == 0 or step + 1 == STEPS:
            stored = [optimizer.state_dict() for optimizer in optimizers]
            save_state(
                out / "dit.pt", model=dit.state_dict(), glyph=encoder.state_dict(), optimizers=stored, step=step + 1
            )
