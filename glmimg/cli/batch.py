"""`glmimg batch`: many jobs, resumable, here or on a cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glmimg.cli import ar_options as a
from glmimg.cli import options as o
from glmimg.cli.console import Console
from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.engine.batch.joblist import JobList

RETRY = "--retry-failed"
ENGINES = ("local", "ray")


def batch(
    jobs: Annotated[
        str,
        typer.Argument(
            metavar="JOBS",
            help="JSON lines, CSV, or plain text with one prompt a line; a path, a URI, or - for standard input.",
            show_default=False,
        ),
    ],
    out: o.BatchOut,
    model: o.Model = None,
    revision: o.Revision = None,
    preset: o.Presets = None,
    size: o.Size = None,
    count: o.Count = 1,
    seed: o.Seed = None,
    dit_seed: o.DitSeed = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    memory: o.Memory = "auto",
    quantize: o.Quantize = "none",
    lora: o.Loras = None,
    skip_bad: o.SkipBad = False,
    retry_failed: o.RetryFailed = False,
    ar_method: a.ARMethod = None,
    ar_window: a.ARWindow = None,
    ar_batch: a.ARBatch = "auto",
    compile: a.Compile = None,
    round_size: o.RoundSize = None,
    engine: o.Engine = "local",
    address: o.Address = None,
    ar_workers: o.ARWorkers = 1,
    dit_workers: o.DiTWorkers = 2,
    gallery: o.Gallery = False,
    dry_run: o.DryRun = False,
    no_metadata: o.NoMetadata = False,
    json: o.Json = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw many pictures, each job of a list into a folder.

    Writes NAME.png and NAME.tokens.json for each job and a line for each in results.jsonl. The same
    command goes on where an earlier run stopped, was killed, or failed.

    Examples:

    glmimg batch prompts.txt --model demo -o out/

    glmimg batch jobs.jsonl -o out/ --steps 20 --json

    glmimg batch jobs.csv -o out/ --retry-failed
    """
    from glmimg.cli.asking import ar_choice
    from glmimg.cli.batch_report import BatchReport, stop_on_signals
    from glmimg.engine.batch.engine import BatchEngine, BatchOptions
    from glmimg.engine.batch.estimate import estimate
    from glmimg.engine.batch.gallery import write_gallery
    from glmimg.engine.batch.joblist import Defaults, open_jobs
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.batch.on_ray import Cluster, RayEngine, connect
    from glmimg.engine.batch.stages import AR_BATCH, CheckpointStages, Scope
    from glmimg.engine.batch.store import open_store
    from glmimg.engine.batch.survey import survey
    from glmimg.engine.memory import check_changes, check_extras
    from glmimg.job import ModelChoice, Wish
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    console = Console(json=json, quiet=quiet, verbose=verbose)
    flags = dict(size=size, seed=seed, dit_seed=dit_seed, steps=steps, guidance=guidance)
    flags |= dict(temperature=temperature, top_p=top_p, ar_method=ar_method, ar_window=ar_window)
    ar = ar_choice(ar_batch, compile)
    defaults = Defaults(Wish.of(flags), tuple(preset or ()), count)
    choice = ModelChoice(model or "", revision, device, dtype, memory, quantize, tuple(lora or []), compile=compile)
    check_names(choice)
    check_changes(choice)
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: there is no such engine", f"There are: {', '.join(ENGINES)}.")
    checkpoint = resolve(model, revision)
    found = open_jobs(jobs, checkpoint, defaults)
    report_bad(found, console, skip=skip_bad)
    check_extras((each.job.painting, bool(each.job.sources)) for each in found.jobs)
    stages = CheckpointStages(checkpoint, choice, ar, Scope.of([each.job for each in found.jobs]))
    store = open_store(out, make=not dry_run)
    ledger = Ledger(store, stages.model)
    wanted = [job for job in found.jobs if ledger.has_failed(job)] if retry_failed else found.jobs
    work = survey(wanted, store, ledger, force=force)
    report = BatchReport(console)
    if dry_run:
        needs = stages.needs()
        report.plan(work, estimate(work, ledger, needs.seconds), needs)
        return
    stages.check()
    options = BatchOptions(ar.rows or AR_BATCH, round_size, not no_metadata, force)
    with report:
        drawing = BatchEngine(stages, store, ledger, options, report)
        if engine == "ray":
            connect(cluster := Cluster(address, ar_workers, dit_workers))
            drawing = RayEngine(stages, store, ledger, options, report, cluster)
        with stop_on_signals(drawing.stop, console):
            for record in drawing.run(work):
                report.record(record, store)
    if gallery:
        console.note(f"gallery: {write_gallery(store, Path(out).name or out)}")
    report.end(retry_command(), store)


def report_bad(found: JobList, console: Console, *, skip: bool) -> None:
    """Name every bad line: as an error (exit 3), or as notes when they are to be skipped."""
    if skip:
        for bad in found.bad:
            console.note(f"skipped line {bad.line}: {bad.reason}")
        found.bad.clear()
    found.check()


def retry_command() -> str:
    """The present command line, made to draw only what failed."""
    said = ["glmimg", *sys.argv[1:]]
    return shlex.join(said if RETRY in said else [*said, RETRY])
