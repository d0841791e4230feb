"""`glmimg batch`: many jobs, resumable, here or on a cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from glmimg.choice import Ideas, Keeping, ModelChoice, Output, Sources
from glmimg.cli import arguments as a
from glmimg.cli.options import BOTH_SEEDS, Request, takes, without
from glmimg.engine.batch.settings import Cluster, Schedule
from glmimg.errors import UsageError
from glmimg.job import Painting, Sampling, Scene

if TYPE_CHECKING:
    from glmimg.cli.run import Run
    from glmimg.engine.batch.engine import BatchEngine
    from glmimg.engine.batch.joblist import Defaults, JobList
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.batch.workbench import BatchOptions

RETRY = "--retry-failed"
MAX_NOTES = 10
"""Notes on the source pictures of a list that are shown; the others are only counted."""

JobsFile = Annotated[
    str,
    a.argument("JOBS", "JSON lines, CSV, or text with one prompt per line; a path, a URI or -."),
]


@takes(
    Scene,
    Sampling,
    Painting,
    without(Ideas, "sheet", rare=True),
    ModelChoice,
    without(Keeping, rare=True),
    Schedule,
    Cluster,
    a.FOLDER,
)
def batch(request: Request, jobs: JobsFile, count: a.Count = 1) -> None:
    """Draw a list of jobs into a folder.

    Writes NAME.png and NAME.tokens.json for each job, and one line per job in results.jsonl.
    Run the same command again to resume a run that was stopped or killed.

    \b
    Examples:
      glmimg batch prompts.txt --model demo -o out/
      glmimg batch jobs.jsonl -o out/ --steps 20 --json
      glmimg batch jobs.csv -o out/ --retry-failed
    """
    from glmimg.cli.batch_report import BatchReport, stop_on_signals
    from glmimg.cli.run import Run
    from glmimg.cli.world import note_foreign_words
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.gallery import check_page, write_gallery
    from glmimg.engine.batch.joblist import open_jobs
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.batch.survey import survey
    from glmimg.engine.batch.workbench import BatchOptions
    from glmimg.engine.memory import check_extras
    from glmimg.engine.scope import Scope
    from glmimg.engine.stages import AR_BATCH
    from glmimg.metadata import format_of

    if request.flags.get("out") is None:
        raise UsageError("no output folder given", "Name one with --out, such as -o out/.")
    run, schedule = Run.open(request), request.settings(Schedule)
    stages, output = run.own_stages, run.output
    found = open_jobs(jobs, run.checkpoint, defaults(request, count))
    format_of(Path(f"picture.{schedule.image_format}"))
    report_list(found, run, skip_bad=schedule.skip_bad)
    said = ((*each.job.scene.forms, each.job.scene.prompt)[0] for each in found.jobs)
    note_foreign_words(said, run.checkpoint.folder, run.console)
    check_extras(each.job.painting for each in found.jobs)
    store = open_store(output.out or "", make=not output.dry_run)
    if schedule.gallery:
        check_page(store, force=output.force)
    ledger = Ledger(store, stages.model)
    wanted = [job for job in found.jobs if ledger.has_failed(job)] if schedule.retry_failed else found.jobs
    work = survey(wanted, ledger, force=output.force)
    report = BatchReport(run.console)
    if output.dry_run:
        report.plan(work, ledger, stages.needs(Scope.of([each.job for each in found.jobs])))
        return
    stages.check("ar", "dit")
    rows, metadata = run.choice.rows or AR_BATCH, not output.no_metadata
    options = BatchOptions(rows, schedule.round, metadata, output.force, output.image_quality)
    drawn: dict[Path, int | None] = {}
    with report.shown(), run.remembered(drawn):
        drawing = batch_engine(run, ledger, options, report)
        with stop_on_signals(drawing.stop, run.console):
            for record in drawing.run(work):
                report.record(record, store)
                drawn[Path(output.out or "")] = None
    if schedule.gallery:
        page = write_gallery(store, Path(output.out or "").name or str(output.out), force=output.force)
        run.console.note(f"gallery: {page}")
    report.end(retry_command(), store)


def defaults(request: Request, count: int) -> Defaults:
    """The command line's settings for all jobs of a list."""
    from glmimg.engine.batch.joblist import Defaults

    flags, environment, config = request.job_layers()
    ending = request.settings(Schedule).image_format
    if request.seeds and count > 1:
        raise UsageError(*BOTH_SEEDS)
    asked = request.settings(Ideas)
    fetch, keep = request.settings(Sources).fetch, not request.settings(Output).no_metadata
    return Defaults(flags, environment, request.presets, config, count, ending, request.seeds, asked, fetch, keep)


def batch_engine(run: Run, ledger: Ledger, options: BatchOptions, report: Any) -> BatchEngine:
    """The engine for this machine or for a cluster, which is contacted now. Raises ClusterUnavailable (exit 1)."""
    from glmimg.engine.batch.engine import BatchEngine
    from glmimg.engine.batch.on_ray import RayEngine, connect

    cluster = run.request.settings(Cluster)
    if cluster.engine == "local":
        return BatchEngine(run.stages, ledger, options, report)
    connect(cluster)
    return RayEngine(run.own_stages, ledger, options, report, cluster)


def report_list(found: JobList, run: Run, *, skip_bad: bool) -> None:
    """Report every bad line, as an error (exit 3) or as notes if they are skipped; then notes on sources."""
    if skip_bad:
        for bad in found.bad:
            run.console.note(f"skipped line {bad.line}: {bad.reason}")
        found.bad.clear()
    found.check()
    for note in found.notes[:MAX_NOTES]:
        run.console.note(note)
    if len(found.notes) > MAX_NOTES:
        run.console.note(f"{len(found.notes) - MAX_NOTES} more such notes on source pictures")


def retry_command() -> str:
    """The current command line, changed to retry only what failed."""
    words = ["glmimg", *sys.argv[1:]]
    return shlex.join(words if RETRY in words else [*words, RETRY])
