"""Phase 2: the AR stage, trained on captions and codes alone; needs the codebook, not the VAE."""

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GlmImageForConditionalGeneration

from glmimg.demo.train.ar_data import ArBatch, Batches, Mixture, RowMaker
from glmimg.demo.train.ar_model import build_ar
from glmimg.demo.train.codebook import load_codebook
from glmimg.demo.train.muon import Muon
from glmimg.demo.train.progress import Journal, load_state, rate_at, save_state, set_up_torch
from glmimg.demo.train.tokenizer import build_processor

STEPS, WARMUP, MATRIX_RATE, EMBEDDING_RATE, HEAD_RATE = 4600, 60, 0.006, 2e-3, 8e-4
PHASES = (  # from this step on, this mixture
    (0, Mixture()),
    (300, Mixture(pairs=0.3, other_grids=0.1)),
    (1500, Mixture(pairs=0.3, other_grids=0.25, edits=0.25, words=0.05)),
)


def positions_of(model: GlmImageForConditionalGeneration, batch: ArBatch) -> Tensor:
    """int64 (3, 1, L): rotary positions of prompt and grids, from the model's own get_rope_index."""
    prompt = batch.ids[:1, : batch.prompt_length]
    prefill, _ = model.model.get_rope_index(prompt, batch.grids, torch.tensor([len(batch.grids)]))
    decode = model.model._cached_decode_position_ids.permute(1, 0, 2)
    return torch.cat([prefill, decode[..., : batch.ids.shape[1] - batch.prompt_length]], -1)


def ar_loss(model: GlmImageForConditionalGeneration, batch: ArBatch) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, share of right tokens, share of rows without a wrong token), over the wanted cells."""
    text = model.model.language_model
    positions = positions_of(model, batch).expand(-1, len(batch.ids), -1)
    hidden = text(inputs_embeds=text.embed_tokens(batch.ids), position_ids=positions, use_cache=False)
    hidden = hidden.last_hidden_state[:, batch.prompt_length - 1 :]
    logits = model.lm_head(hidden[batch.wanted])
    targets = batch.targets[batch.wanted]
    right = torch.ones_like(batch.wanted)
    right[batch.wanted] = logits.argmax(-1) == targets
    share = right[batch.wanted].float().mean()
    return F.cross_entropy(logits, targets), share, right.all(1).float().mean()


def make_optimizers(model: GlmImageForConditionalGeneration) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings, head, norms and biases; vision parts stay as they are."""
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    embedding = model.model.language_model.embed_tokens.weight
    chosen = {id(p) for p in [embedding, *matrices]}
    rest = [p for p in [*model.model.language_model.parameters(), *model.lm_head.parameters()] if id(p) not in chosen]
    groups = [{"params": [embedding], "lr": EMBEDDING_RATE}, {"params": rest, "lr": HEAD_RATE}]
    return [
        Muon(matrices, lr=MATRIX_RATE, decay=0.01),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def mixture_at(step: int) -> Mixture:
    """What is drawn at this step."""
    return [mixture for start, mixture in PHASES if start <= step][-1]


def train_ar(out: Path, steps: int = STEPS) -> None:
    """Train for `steps` steps in all, going on from `out/ar.pt` if it exists."""
    set_up_torch(2)
    codebook, processor = load_codebook(out / "codebook.npz"), build_processor()
    model = build_ar(codebook, len(processor.tokenizer), processor.image_token_id)
    optimizers = make_optimizers(model)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    state, first = load_state(out / "ar.pt"), 0
    if state:
        model.load_state_dict(state["model"])
        for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict({**stored, "param_groups": optimizer.state_dict()["param_groups"]})
        first = state["step"]
    supply = Batches(RowMaker(codebook, processor, random.Random(f"ar {first}")), mixture_at(first))
    batches, journal = iter(supply), Journal("ar", 25)
    for step in range(first, steps):
        supply.mixture = mixture_at(step)
        factor = rate_at(step, steps, WARMUP)
        for optimizer, peaks in zip(optimizers, rates, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16):  # matrix products alone: a quarter faster, the loss is the same
            loss, tokens, rows = ar_loss(model, batch)
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        kind = "t2i" if len(batch.grids) == 2 and batch.grids[0, 1] != batch.grids[1, 1] else "edit"
        journal.tell(step + 1, loss=loss.item(), tokens=tokens.item(), rows=rows.item(), edits=float(kind == "edit"))
        if (step + 1) % 200 == 0 or step + 1 == steps:
            stored = [optimizer.state_dict() for optimizer in optimizers]
            save_state(out / "ar.pt", model=model.state_dict(), optimizers=stored, step=step + 1)
