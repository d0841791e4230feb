"""Stage 1 against transformers' `generate`, and its own ways against each other, in turn on the same weights.

`python -m tests.bench.ar --model demo [--size 256x256] [--runs 5] [--only generate,compile]`, see `KINDS`

Every comparison runs A B A B ..., and reports medians and the median of the ratios pair by pair, in
wall time and, since machines are shared, in CPU time of this process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.engine.complete import complete_sampling
from glmimg.events import unwatched
from glmimg.job import Job, parse_size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from tests.bench.processes import keep
from tests.jobs import make_job
from tests.tiny import Sizes, build_checkpoint

PROMPTS = (
    "a red circle on a blue background",
    "a small yellow triangle to the left of a green square on a white background",
    "a purple star on a background that is black above and orange below",
    "a sign that says 'OPEN'",
)
"""One shape, two shapes, a background of two tones, a word."""

KINDS = ("generate", "compile", "batch", "rows", "jacobi", "entropy", "random")
TEMPERATURES = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
ROWS = (1, 8, 16, 32, 64)
SEEDS = 8


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
        law = complete_sampling({"seed": 0, **sampling}, self.checkpoint)
        size = {"height": self.height, "width": self.width}
        return [make_job(PROMPTS[0], **size, seed=seed, sampling=law) for seed in range(1, 1 + count)]

    def of_all_kinds(self, seeds: int, **sampling: Any) -> list[Job]:
        """Jobs of every prompt, each with so many seeds."""
        return [with_prompt(job, prompt) for prompt in PROMPTS for job in self.jobs(seeds, **sampling)]

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


def with_prompt(job: Job, prompt: str) -> Job:
    """The same job of another prompt."""
    return job.model_copy(update={"scene": job.scene.model_copy(update={"prompt": prompt})})


def write(stage: ARStage, *jobs: Job) -> list[TokenDump]:
    """The dumps of jobs drawn at once."""
    return stage.write([TokenWork(job) for job in jobs], unwatched)


def stock(bench: Bench, job: Job) -> Callable[[], list[int]]:
    """The same job through transformers' processor and `generate`, with its cache and its default attention."""
    import torch

    stage, law = bench.stage, job.sampling
    count = write(stage, job)[0].stats.tokens

    @torch.inference_mode()
    def generate() -> list[int]:
        messages = [{"role": "user", "content": [{"type": "text", "text": job.scene.prompt}]}]
        chat = stage.processor.apply_chat_template([messages], tokenize=False)
        inputs = stage.processor(
            text=chat, target_h=job.scene.size.height, target_w=job.scene.size.width, return_tensors="pt"
        )
        torch.manual_seed(job.sampling.seed)
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
    ours = [token for grid in write(bench.stage, job)[0].grids for token in grid.flat()]
    figures = bench.turns(lambda: write(bench.stage, job), generate)
    return figures | {"tokens": len(ours), "same_tokens": generate() == ours}


def compiled(bench: Bench) -> dict[str, Any]:
    """The compiled pass, warm, against `generate`; compiling is not counted, but said."""
    warm = ARStage(bench.checkpoint, place(ModelChoice()), unwatched, choice=ModelChoice(compile=True))
    job = bench.jobs()[0]
    started = time.perf_counter()
    write(warm, job)
    first = time.perf_counter() - started
    figures = bench.turns(lambda: write(warm, job), stock(bench, job))
    same = write(warm, job)[0].grids == write(bench.stage, job)[0].grids
    return figures | {"first_run_s": round(first, 1), "same_tokens": same}


def batch(bench: Bench, count: int = 8, **sampling: Any) -> dict[str, Any]:
    """Jobs in one batch against the same jobs one after the other; their tokens are compared."""
    jobs = bench.jobs(count, **sampling)
    together = [dump.grids for dump in write(bench.stage, *jobs)]
    alone = [write(bench.stage, job)[0].grids for job in jobs]
    figures = bench.turns(lambda: write(bench.stage, *jobs), lambda: [write(bench.stage, job) for job in jobs])
    return figures | {"rows": count, "same_tokens": together == alone}


def rows(bench: Bench) -> list[dict[str, Any]]:
    """CPU seconds a picture, by how many are drawn at once; every width in turn."""
    costs: dict[int, list[float]] = {count: [] for count in ROWS}
    for _ in range(2):
        for count in ROWS:
            jobs = bench.jobs(count)
            costs[count].append(_clock(lambda jobs=jobs: write(bench.stage, *jobs))[1] / count)
    return [{"rows": count, "cpu_s_a_picture": round(min(each), 4)} for count, each in costs.items()]


def jacobi(bench: Bench, seeds: int = SEEDS, **sampling: Any) -> dict[str, Any]:
    """Jacobi and one-by-one drawing in turn over all kinds of prompts, and the forward passes a token takes."""
    theirs = bench.of_all_kinds(seeds, **sampling)
    ours = bench.of_all_kinds(seeds, ar_method="jacobi", **sampling)
    write(bench.stage, ours[0]), write(bench.stage, theirs[0])
    passes: dict[str, list[float]] = {prompt: [] for prompt in PROMPTS}
    ratios, ours_s, theirs_s = [], 0.0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        dumps: list[TokenDump] = []
        _, cpu = _clock(lambda mine=mine, dumps=dumps: dumps.extend(write(bench.stage, mine)))
        _, other_cpu = _clock(lambda other=other: write(bench.stage, other))
        passes[mine.scene.prompt].append(dumps[0].stats.forward_passes / dumps[0].stats.tokens)
        ratios.append(cpu / other_cpu)
        ours_s, theirs_s = ours_s + cpu, theirs_s + other_cpu
    return {
        "pictures": len(ours),
        "passes_a_token": round(statistics.mean(each for kind in passes.values() for each in kind), 3),
        "passes_by_prompt": {prompt: round(statistics.mean(kind), 3) for prompt, kind in passes.items()},
        "cpu_ratio": round(statistics.median(ratios), 3),
        "cpu_ratio_of_sums": round(ours_s / theirs_s, 3),
        "batch": batch(bench, ar_method="jacobi", **sampling),
    }


def against_entropy(bench: Bench) -> list[dict[str, Any]]:
    """Jacobi at one temperature after the other, with the mean entropy of the laws drawn from."""
    points = []
    for temperature in TEMPERATURES:
        figures = jacobi(bench, 1, temperature=temperature, top_p=1.0)
        points.append({"temperature": temperature, "entropy_bits": mean_entropy(bench, temperature), **figures})
    return points


def on_random_weights(bench: Bench) -> list[dict[str, Any]]:
    """As `against_entropy`, on weights that have learnt nothing: the demo's shape, a 64-code book."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = Sizes(hidden=192, layers=5, ffn=384)
        checkpoint = resolve(str(build_checkpoint(Path(folder), sizes)))
        stage = ARStage(checkpoint, place(ModelChoice(model=folder)), unwatched)
        return against_entropy(replace(bench, checkpoint=checkpoint, stage=stage))


def mean_entropy(bench: Bench, temperature: float) -> float:
    """Bits a token, over the laws one run draws from."""
    import torch

    from glmimg.ar.sampling import TokenSampler, warp

    entropies: list[float] = []
    draw = TokenSampler.draw

    def note_and_draw(sampler: TokenSampler, logits: torch.Tensor) -> torch.Tensor:
        law = warp(sampler.scores(logits)[:, : sampler.codebook_size], sampler.sampling).softmax(-1)
        entropies.append(float(-(law * law.clamp(min=1e-30).log2()).sum()))
        return draw(sampler, logits)

    TokenSampler.draw = note_and_draw  # type: ignore[method-assign]
    try:
        write(bench.stage, bench.jobs(temperature=temperature, top_p=1.0)[0])
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
    stage = ARStage(checkpoint, place(ModelChoice(model=said.model)), unwatched)
    height, width = parse_size(said.size)
    bench = Bench(checkpoint, stage, height, width, said.runs)
    kinds = (against_generate, compiled, batch, rows, jacobi, against_entropy, on_random_weights)
    work: dict[str, Callable[[Bench], Any]] = dict(zip(KINDS, kinds, strict=True))
    figures = {kind: work[kind](bench) for kind in said.only.split(",")}
    name = f"ar-{Path(said.model).name}-{said.size}-{said.only.replace(',', '-')}"
    keep(name, {"size": said.size, **figures})
    return figures


if __name__ == "__main__":
    main()
