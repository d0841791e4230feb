"""Long lists: time to the first new job of 10,000 with 9,990 done, memory from 10 jobs to 10,000.

    python -m tests.bench.batch_scale [--jobs 10000] [--out tests/bench/results/batch_scale.json]

Stages without weights draw the bulk, so that the batch itself is what is measured.
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
from pathlib import Path
from typing import Any

from tests.batch.conftest import make_jobs
from tests.batch.stubs import StubStages
from tests.tiny import build_checkpoint


def draw(folder: Path, text: str, stages: StubStages) -> int:
    """Draw a list with stub stages; returns the peak of this process's memory in MB."""
    from glmimg.engine.batch.engine import BatchEngine
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.batch.survey import survey
    from glmimg.engine.batch.workbench import BatchOptions

    store = open_store(str(folder / "out"))
    ledger = Ledger(store, stages.model)
    work = survey(make_jobs(folder, text), ledger)
    engine = BatchEngine(stages, ledger, BatchOptions(), lambda event: None)
    for _ in engine.run(work):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_a_process_of_its_own(*arguments: Any) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(draw, arguments)


def prompts(count: int) -> str:
    return "\n".join(json.dumps({"prompt": f"picture number {n}", "size": "64x64", "steps": 1}) for n in range(count))


def measure_memory(count: int) -> dict[str, Any]:
    peaks = {}
    for jobs in (10, count):
        with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
            peaks[jobs] = in_a_process_of_its_own(Path(folder), prompts(jobs), StubStages())
    return {"peak_mb": peaks, "growth_mb": peaks[count] - peaks[10]}


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
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = {"jobs": arguments.jobs, "start": measure_start(arguments.jobs), "memory": measure_memory(arguments.jobs)}
    text = json.dumps(results, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
