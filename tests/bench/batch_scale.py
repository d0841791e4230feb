"""Long lists: time to the first job of 10,000, with none or 9,990 done; memory, overhead and replay as they grow.

    python -m tests.bench.batch_scale [--jobs 10000] [--out tests/bench/results/batch_scale.json]

Stages without weights draw the bulk, so that the batch itself is what is measured, in CPU time: ratios of one run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmimg.engine.batch.joblist import BatchJob
from tests.batch.conftest import make_jobs
from tests.batch.stubs import StubStages
from tests.tiny import build_checkpoint


def draw(folder: Path, count: int) -> dict[str, Any]:
    """Draw a list with stub stages, in this process: CPU time of each part, and the largest memory in MB.

    That of the first job begins with the process, imports included.
    """
    from glmimg.engine.batch.engine import BatchEngine
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.batch.survey import survey
    from glmimg.engine.batch.workbench import BatchOptions

    started, text, stages = time.process_time(), prompts(count), StubStages()
    jobs = make_jobs(folder, text)
    listed = time.process_time()
    ledger = Ledger(open_store(str(folder / "out")), stages.model)
    work = survey(jobs, ledger)
    surveyed = time.process_time()
    ended = [time.process_time() for _ in BatchEngine(stages, ledger, BatchOptions(), lambda event: None).run(work)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    tenth, again = max(1, count // 10), time.process_time()
    read = Ledger(open_store(str(folder / "out")), stages.model)
    replayed = time.process_time()
    assert len(survey(jobs, read).done) == len(ended) == count
    known = time.process_time()
    return {
        "peak_mb": peak,
        "list_ms_a_job": per_job(listed - started, count),
        "to_first_job_s": round(ended[0], 2),
        "draw_ms_a_job": per_job(ended[-1] - surveyed, count),
        "of_it_stages_and_files_ms": bare(folder, jobs[:100], stages),
        "last_tenth_against_first": round((ended[-1] - ended[-tenth]) / (ended[tenth - 1] - surveyed), 2),
        "replay_ms_a_line": per_job(replayed - again, count),
        "survey_done_ms_a_job": per_job(known - replayed, count),
    }


def bare(folder: Path, jobs: Sequence[BatchJob], stages: StubStages) -> float:
    """CPU time a job of the stages themselves and of two files written whole, without a batch around."""
    from glmimg.atomic import write_atomically
    from glmimg.engine.engine import Engine
    from glmimg.engine.stages import Scope
    from glmimg.tokens.change import TokenWork

    started = time.process_time()
    engine = Engine(stages, Scope.of([each.job for each in jobs]), keep_both=True)
    for each in jobs:
        (dump,) = engine.write([TokenWork(each.job)])
        write_atomically(folder / each.dump, dump.to_json().encode())
        write_atomically(folder / each.picture, engine.paint(dump, each.job.painting).encode("PNG"))
    return per_job(time.process_time() - started, len(jobs))


def per_job(seconds: float, count: int) -> float:
    return round(seconds / count * 1000, 3)


def in_a_process_of_its_own(*arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(draw, arguments)


def prompts(count: int) -> str:
    return "\n".join(json.dumps({"prompt": f"picture number {n}", "size": "64x64", "steps": 1}) for n in range(count))


def measure_growth(count: int) -> dict[str, Any]:
    """A tenth of the list and the whole of it: what grows with it, and what does not."""
    sizes = {}
    for jobs in (count // 10, count):
        with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
            sizes[jobs] = in_a_process_of_its_own(Path(folder), jobs)
    small, large = sizes.values()
    overhead = round(large["draw_ms_a_job"] - large["of_it_stages_and_files_ms"], 3)
    alike = [key for key in large if key.endswith(("a_job", "a_line"))]
    return {
        "jobs": sizes,
        "growth_mb": large["peak_mb"] - small["peak_mb"],
        "overhead_ms_a_job": overhead,
        "whole_against_tenth": {key: round(large[key] / small[key], 2) for key in alike},
    }


def measure_start(count: int) -> dict[str, Any]:
    """The real command over the tiny checkpoint; all but ten jobs are drawn beforehand in its name."""
    from glmimg.choice import ModelChoice
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.joblist import Defaults, open_jobs
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.stages import CheckpointStages
    from glmimg.runtime.resolve import resolve

    with tempfile.TemporaryDirectory(dir=fast_folder()) as name:
        folder = Path(name)
        (folder / "model").mkdir()
        checkpoint = resolve(str(build_checkpoint(folder / "model")))
        (folder / "jobs.jsonl").write_text(prompts(count))
        jobs = open_jobs(str(folder / "jobs.jsonl"), checkpoint, Defaults()).jobs
        store = open_store(str(folder / "out"))
        ledger = Ledger(store, CheckpointStages(checkpoint, ModelChoice()).model)
        lines = []
        for job in jobs[:-10]:
            (folder / "out" / job.picture).write_bytes(b"p")
            (folder / "out" / job.dump).write_bytes(b"d")
            record = ledger.record(
                job, "done", picture=job.picture, tokens=job.dump, sizes={"picture": 1, "tokens": 1},
                seconds={"tokens": 1.0, "picture": 1.0}, sha256=store.hashes(job),
            )  # fmt: skip
            lines.append(record.line() + b"\n")
        (folder / "out" / "results.jsonl").write_bytes(b"".join(lines))
        command = [sys.executable, "-m", "glmimg", "batch", str(folder / "jobs.jsonl"), "-o", str(folder / "out")]
        command += ["-m", str(folder / "model"), "--ar-batch", "1", "--json"]
        started = time.perf_counter()
        times: dict[str, float] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                times.setdefault(json.loads(line)["event"], round(time.perf_counter() - started, 2))
    return {"seconds_to": times, "imports_alone": imports_alone()}


def imports_alone() -> float:
    """What starting Python with the libraries takes in this same run, without glmimg."""
    script = "import torch, transformers, diffusers; from transformers import GlmImageForConditionalGeneration"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return round(time.perf_counter() - started, 2)


def fast_folder() -> str | None:
    """Memory as a disk, so that 30,000 fsyncs of a busy disk are not what is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--growth-only", action="store_true", help="stub stages alone, without the real command")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"jobs": arguments.jobs, "growth": measure_growth(arguments.jobs)}
    if not arguments.growth_only:
        results["start"] = measure_start(arguments.jobs)
    text = json.dumps(results, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
