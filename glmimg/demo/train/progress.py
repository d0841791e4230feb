"""What every trainer shares: one thread, a learning rate that warms up and decays, checkpoints that survive a kill."""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

Courses = tuple[tuple[int, float], ...]  # of each course: its last step, its share of the peak rates


def set_up_torch(seed: int, threads: int = 1) -> None:
    """One thread a trainer (two trainers side by side beat one with two threads) and a fixed seed."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)


def matrix_dtype() -> torch.dtype:
    """bfloat16 where the processor has instructions for it: a quarter faster in matrix products, the loss is the same.

    Without them bfloat16 is an order of magnitude slower than float32.
    """
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def matrix_precision() -> AbstractContextManager[Any]:
    """Matrix products in `matrix_dtype`."""
    return torch.autocast("cpu", torch.bfloat16) if matrix_dtype() == torch.bfloat16 else nullcontext()


def rate_at(step: int, steps: int, warmup: int, flat: float = 0.4) -> float:
    """Learning-rate factor in 0..1: linear warm-up, flat until `flat` of all steps, then a cosine to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = max(0.0, (step / steps - flat) / (1 - flat))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def rate_in_course(step: int, courses: Courses, warmup: int) -> float:
    """Learning-rate factor in 0..1 at this step of its course; raises ValueError past the last one."""
    start = 0
    for end, share in courses:
        if step < end:
            return share * rate_at(step - start, end - start, warmup)
        start = end
    raise ValueError(f"step {step} is past the last course")


def restore(optimizers: list[torch.optim.Optimizer], stored: list[dict[str, Any]] | None) -> None:
    """Give the optimizers their stored states; None, of weights that came without, leaves them fresh."""
    for optimizer, state in zip(optimizers, stored or [], strict=stored is not None):
        optimizer.load_state_dict({**state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_state(path: Path, **state: Any) -> None:
    """Write a training state whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The state saved last, or None when there is none yet."""
    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else None


class Journal:
    """Prints the mean of what it is told every `every` steps, with the time a step takes."""

    def __init__(self, name: str, every: int = 20) -> None:
        self.name, self.every = name, every
        self.sums: dict[str, list[float]] = {}
        self.count, self.started = 0, time.monotonic()

    def tell(self, step: int, **values: float) -> None:
        """Add the figures of one step; print and forget after every `every` of them."""
        for key, value in values.items():
            self.sums.setdefault(key, []).append(value)
        self.count += 1
        if self.count == self.every:
            seconds = (time.monotonic() - self.started) / self.count
            means = " ".join(f"{key} {sum(told) / len(told):.4f}" for key, told in sorted(self.sums.items()))
            print(f"{self.name} {step} {means} {seconds:.2f} s/step", flush=True)
            self.sums, self.count, self.started = {}, 0, time.monotonic()
