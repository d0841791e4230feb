"""Phase 2: the AR stage, trained on captions and codes alone; needs the codebook, not the VAE."""

import random
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from transformers import GlmImageForConditionalGeneration

from glmimg.demo.train.ar_data import ArBatch, Batches, Mixture, RowMaker
from glmimg.demo.train.ar_model import build_ar, start_letters
from glmimg.demo.train.codebook import load_codebook
from glmimg.demo.train.muon import Muon
from glmimg.demo.train.position_heads import anchors_of, start_position_heads
from glmimg.demo.train.progress import (
    Journal,
    load_state,
    matrix_precision,
    rate_in_course,
    restore,
    save_state,
    set_up_torch,
)
from glmimg.demo.train.scene import LETTERS
from glmimg.demo.train.tokenizer import build_processor

Figures = dict[str, float]
WARMUP, MATRIX_RATE, EMBEDDING_RATE, HEAD_RATE = 60, 0.005, 2e-3, 1e-3
MATRIX_DECAY = (
    0.4  # without it Muon lets queries and keys grow until every head attends to one token and stops learning
)
ALONE_UNTIL = 1500  # from this step on the VAE and the DiT are done, and two processes share the work
BATCHES_A_STEP = 2  # from there on, over all processes: fewer are too noisy for what words and sizes need
COURSES = ((4400, 1.0), (8400, 0.5), (11400, 0.15), (11850, 0.03), (15000, 0.15))
STEPS = COURSES[-1][0]
PHASES = (  # from this step on, this mixture
    (0, Mixture()),
    (500, Mixture(pairs=0.25)),
    (900, Mixture(pairs=0.3, other_grids=0.15, edits=0.2, words=0.03)),
    (4400, Mixture(pairs=0.3, other_grids=0.15, edits=0.45, words=0.2)),
    (7800, Mixture(pairs=0.35, other_grids=0.15, edits=0.3, words=0.15)),
    (8400, Mixture(pairs=0.25, other_grids=0.35, edits=0.2, words=0.55)),
    (10400, Mixture(pairs=0.3, other_grids=0.3, edits=0.3, words=0.25)),
    (11400, Mixture(pairs=0.3, other_grids=0.7, edits=0.15, words=0.2)),
    (11850, Mixture(pairs=0.3, other_grids=0.45, edits=0.4, words=0.1, spoken=0.5)),
)


def positions_of(model: GlmImageForConditionalGeneration, batch: ArBatch) -> Tensor:
    """int64 (3, 1, L): rotary positions of prompt and grids, from the model's own get_rope_index."""
    prompt = batch.ids[:1, : batch.prompt_length]
    prefill, _ = model.model.get_rope_index(prompt, batch.grids, torch.tensor([len(batch.grids)]))
    decode = model.model._cached_decode_position_ids.permute(1, 0, 2)
    return torch.cat([prefill, decode[..., : batch.ids.shape[1] - batch.prompt_length]], -1)


def ar_loss(model: GlmImageForConditionalGeneration, batch: ArBatch) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, share of right tokens, share of rows without a wrong token), over the cells that count."""
    text = model.model.language_model
    positions = positions_of(model, batch).expand(-1, len(batch.ids), -1)
    hidden = text(inputs_embeds=text.embed_tokens(batch.ids), position_ids=positions, use_cache=False)
    hidden = hidden.last_hidden_state[:, batch.prompt_length - 1 :]
    wanted = batch.weights > 0
    logits, targets, weights = model.lm_head(hidden[wanted]), batch.targets[wanted], batch.weights[wanted]
    right = torch.ones_like(wanted)
    right[wanted] = logits.argmax(-1) == targets
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
    return loss, right[wanted].float().mean(), right.all(1).float().mean()


def make_optimizers(model: GlmImageForConditionalGeneration) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings, head, norms and biases; vision parts stay as they are."""
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    embedding = model.model.language_model.embed_tokens.weight
    chosen = {id(p) for p in [embedding, *matrices]}
    rest = [p for p in [*model.model.language_model.parameters(), *model.lm_head.parameters()] if id(p) not in chosen]
    groups = [{"params": [embedding], "lr": EMBEDDING_RATE}, {"params": rest, "lr": HEAD_RATE}]
    return [
        Muon(matrices, lr=MATRIX_RATE, decay=MATRIX_DECAY),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def mixture_at(step: int) -> Mixture:
    """What is drawn at this step."""
    return [mixture for start, mixture in PHASES if start <= step][-1]


def average_gradients(model: GlmImageForConditionalGeneration) -> None:
    """Replace every gradient by its mean over the processes that train together."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(mean.view_as(grad))


def update(
    model: GlmImageForConditionalGeneration, optimizers: list[torch.optim.Optimizer], batches: list[ArBatch]
) -> Figures:
    """One optimizer step over all batches; returns what the journal is told."""
    figures: Figures = {}
    model.zero_grad()
    for batch in batches:
        with matrix_precision():
            loss, tokens, rows = ar_loss(model, batch)
        (loss / len(batches)).backward()
        figures |= {f"loss_{batch.task}": loss.item(), "tokens": tokens.item(), "rows": rows.item()}
    if distributed.is_initialized():
        average_gradients(model)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return figures


def train_ar(out: Path, until: int = STEPS, rank: int = 0, workers: int = 1) -> None:
    """Train, going on from `out/ar.pt` if it exists.

    until: the step to stop before; courses end where COURSES says
    rank, workers: for data-parallel training, this process's number and how many there are
    """
    set_up_torch(2)
    if workers > 1:
        distributed.init_process_group("gloo", f"file://{out.resolve()}/ar.meeting", rank=rank, world_size=workers)
    codebook, processor = load_codebook(out / "codebook.npz"), build_processor()
    model = build_ar(codebook, len(processor.tokenizer), processor.image_token_id)
    start_position_heads(model, anchors_of(processor))
    start_letters(model, processor.tokenizer.convert_tokens_to_ids(list(LETTERS)))
    optimizers = make_optimizers(model)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    first = resume(out / "ar.pt", model, optimizers)
    maker = RowMaker(codebook, processor, random.Random(f"ar {first} {rank}"))
    supply = Batches(maker, mixture_at(first), plan=random.Random(first))
    batches, journal = iter(supply), Journal("ar", 25)
    for step in range(first, until):
        supply.mixture = mixture_at(step)
        set_rates(optimizers, peaks, rate_in_course(step, COURSES, WARMUP))
        here = max(1, BATCHES_A_STEP // workers) if step >= ALONE_UNTIL else 1
        figures = update(model, optimizers, list(islice(batches, here)))
        if rank == 0:
            journal.tell(step + 1, **figures)
            if (step + 1) % 100 == 0 or step + 1 == until:
                states = [optimizer.state_dict() for optimizer in optimizers]
                save_state(out / "ar.pt", model=model.state_dict(), optimizers=states, step=step + 1)


def resume(path: Path, model: GlmImageForConditionalGeneration, optimizers: list[torch.optim.Optimizer]) -> int:
    """Load the state saved last, if any; returns the number of steps made so far."""
    state = load_state(path)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    restore(optimizers, state["optimizers"])
    step: int = state["step"]
    return step


def set_rates(optimizers: list[torch.optim.Optimizer], peaks: list[list[float]], factor: float) -> None:
    """Set every group's learning rate to its peak times `factor`."""
    for optimizer, mine in zip(optimizers, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, mine, strict=True):
            group["lr"] = peak * factor
