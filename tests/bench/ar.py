"""Stage 1 against transformers' `generate`, and its own ways against each other, in turn on the same weights.

`python -m tests.bench.ar --model demo --size 256x256 [--runs 5] [--only generate,compile,batch,jacobi,entropy]`

Every comparison runs A B A B ..., and reports medians and the median of the ratios pair by pair, in
wall time and, since machines are shared, in CPU time of this process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmimg.ar.stage import ARStage
from glmimg.engine.complete import complete_sampling
from glmimg.events import unwatched
from glmimg.job import ARChoice, Job, ModelChoice, Sampling, Wish, parse_size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from tests.bench.processes import keep

PROMPT = "a red circle on a blue background"
KINDS = ("generate", "compile", "batch", "jacobi", "entropy")
TEMPERATURES = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Bench:
    """What all comparisons share."""

    checkpoint: Checkpoint
    stage: ARStage
    height: int
    width: int
    runs: int

    def jobs(self, count: int = 1, **sampling: Any) -> list[Job]:
        """Jobs that differ in their seeds."""
        law = complete_sampling(Wish(), self.checkpoint).model_copy(update=sampling)
        return [self._job(seed, law) for seed in range(1, 1 + count)]

    def _job(self, seed: int, sampling: Sampling) -> Job:
        return Job(
            prompt=PROMPT,
            height=self.height,
            width=self.width,
            seed=seed,
            dit_seed=0,
            steps=1,
            guidance=1.0,
            sampling=sampling,
        )

    def turns(self, ours: Callable[[], Any], theirs: Callable[[], Any]) -> dict[str, Any]:
        """Both in turn, after one run each that is not counted."""
        ours(), theirs()
        pairs = [(_clock(ours), _clock(theirs)) for _ in range(self.runs)]
        return {
            "runs": self.runs,
            "ours_s": round(statistics.median(a[0] for a, _ in pairs), 4),
            "theirs_s": round(statistics.median(b[0] for _, b in pairs), 4),
            "wall_ratio": round(statistics.median(a[0] / b[0] for a, b in pairs), 3),
            "cpu_ratio": round(statistics.median(a[1] / b[1] for a, b in pairs), 3),
        }


def stock(bench: Bench, job: Job) -> Callable[[], list[int]]:
    """The same job through transformers' processor and `generate`, with its cache and its default attention."""
    import torch

    stage, law = bench.stage, job.sampling
    count = stage.write(job, unwatched).stats.tokens

    @torch.inference_mode()
    def generate() -> list[int]:
        messages = [{"role": "user", "content": [{"type": "text", "text": job.prompt}]}]
        chat = stage.processor.apply_chat_template([messages], tokenize=False)
        inputs = stage.processor(text=chat, target_h=job.height, target_w=job.width, return_tensors="pt")
        torch.manual_seed(job.seed)
        drawn = stage.model.generate(
            **inputs,
            max_new_tokens=count,
            do_sample=True,
            temperature=law.temperature,
            top_p=law.top_p,
            top_k=law.top_k or 0,
        )
        return drawn[0, inputs["input_ids"].shape[1] :].tolist()  # type: ignore[no-any-return]

    return generate


def against_generate(bench: Bench) -> dict[str, Any]:
    """The whole stage, prompt to dump, against `generate`; seed for seed the tokens are the same."""
    job = bench.jobs()[0]
    generate = stock(bench, job)
    ours = [token for grid in bench.stage.write(job, unwatched).grids for token in grid.flat()]
    figures = bench.turns(lambda: bench.stage.write(job, unwatched), generate)
    return figures | {"tokens": len(ours), "same_tokens": generate() == ours}


def compiled(bench: Bench) -> dict[str, Any]:
    """The compiled pass, warm, against `generate`; compiling is not counted, but said."""
    warm = ARStage(bench.stage.model, bench.stage.processor, bench.checkpoint, ARChoice(compile=True))
    job = bench.jobs()[0]
    started = time.perf_counter()
    warm.write(job, unwatched)
    first = time.perf_counter() - started
    figures = bench.turns(lambda: warm.write(job, unwatched), stock(bench, job))
    same = warm.write(job, unwatched).grids == bench.stage.write(job, unwatched).grids
    return figures | {"first_run_s": round(first, 1), "same_tokens": same}


def batch(bench: Bench, rows: int = 8) -> dict[str, Any]:
    """Jobs in one batch against the same jobs one after the other; their tokens are compared."""
    jobs = bench.jobs(rows)
    together = [dump.grids for dump in bench.stage.write_batch(jobs, unwatched)]
    alone = [bench.stage.write(job, unwatched).grids for job in jobs]
    figures = bench.turns(
        lambda: bench.stage.write_batch(jobs, unwatched), lambda: [bench.stage.write(job, unwatched) for job in jobs]
    )
    return figures | {"rows": rows, "same_tokens": together == alone}


def jacobi(bench: Bench, **sampling: Any) -> dict[str, Any]:
    """Jacobi against one-by-one drawing of the same job, and the forward passes it takes a token."""
    ours, theirs = bench.jobs(method="jacobi", **sampling)[0], bench.jobs(**sampling)[0]
    stats = [bench.stage.write(job, unwatched).stats for job in bench.jobs(4, method="jacobi", **sampling)]
    passes = sum(each.forward_passes for each in stats) / sum(each.tokens for each in stats)
    figures = bench.turns(lambda: bench.stage.write(ours, unwatched), lambda: bench.stage.write(theirs, unwatched))
    return figures | {"passes_a_token": round(passes, 3)}


def against_entropy(bench: Bench) -> list[dict[str, Any]]:
    """Jacobi at one temperature after the other, with the mean entropy of the laws drawn from."""
    points = []
    for temperature in TEMPERATURES:
        figures = jacobi(bench, temperature=temperature, top_p=1.0)
        points.append({"temperature": temperature, "entropy_bits": mean_entropy(bench, temperature), **figures})
    return points


def mean_entropy(bench: Bench, temperature: float) -> float:
    """Bits a token, over the laws one run draws from."""
    import torch

    from glmimg.ar.sampling import TokenSampler

    entropies: list[float] = []
    draw = TokenSampler.draw

    def note_and_draw(sampler: TokenSampler, logits: torch.Tensor) -> torch.Tensor:
        law = sampler.law(logits)
        entropies.append(float(-(law * law.clamp(min=1e-30).log2()).sum()))
        return draw(sampler, logits)

    TokenSampler.draw = note_and_draw  # type: ignore[method-assign]
    try:
        bench.stage.write(bench.jobs(temperature=temperature, top_p=1.0)[0], unwatched)
    finally:
        TokenSampler.draw = draw  # type: ignore[method-assign]
    return round(statistics.mean(entropies), 2)


def _clock(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the comparisons asked for. Returns what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(KINDS))
    said = parser.parse_args(arguments)
    checkpoint = resolve(said.model)
    stage = ARStage.load(checkpoint, place(ModelChoice(said.model)), unwatched)
    height, width = parse_size(said.size)
    bench = Bench(checkpoint, stage, height, width, said.runs)
    work: dict[str, Callable[[Bench], Any]] = dict(
        zip(KINDS, (against_generate, compiled, batch, jacobi, against_entropy), strict=True)
    )
    figures = {kind: work[kind](bench) for kind in said.only.split(",")}
    name = f"ar-{Path(said.model).name}-{said.size}-{said.only.replace(',', '-')}"
    keep(name, {"size": said.size, **figures})
    return figures


if __name__ == "__main__":
    main()
