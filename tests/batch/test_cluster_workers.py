"""The workers of a cluster without the cluster: rows in, rows out, all that Ray would carry pickled."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from glmimg.engine.batch.folder import FolderStore
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.on_ray import _PaintWorker, _TokenWorker
from glmimg.engine.batch.schedule import plan_batches
from glmimg.engine.batch.workbench import BatchOptions, Outcome
from glmimg.engine.scope import Scope
from glmimg.errors import BadDump, GlmimgError
from glmimg.events import Watch
from glmimg.runtime.layout import Layout
from tests.batch.conftest import Run, make_jobs
from tests.batch.stubs import StubPainter, StubStages, StubTokens

TEXT = "a\nb\nc\nraise tokens\nraise picture\nd\n"


def carry(jobs: list[BatchJob], out: Path, stages: StubStages, run: str = "") -> list[Outcome]:
    """What Ray Data does with the two kinds of workers, one after the other in this process."""
    arguments = pickle.loads(pickle.dumps((stages, Scope(64, 64), str(out), BatchOptions(), run)))
    write, paint = _TokenWorker(*arguments), _PaintWorker(*arguments)
    rows = [row for batch in plan_batches(jobs, set(), 4) for row in write({"jobs": pickle.dumps(batch)})]
    return [pickle.loads(paint(row)["outcome"]) for row in rows]


def test_they_write_what_the_local_engine_writes(draw: Callable[..., Run], tmp_path: Path) -> None:
    draw(TEXT, out=str(tmp_path / "here"))
    stages = StubStages(tmp_path / "log")
    outcomes = carry(make_jobs(tmp_path, TEXT), tmp_path / "out", stages)
    assert Counter(outcome.state for outcome in outcomes) == {"painted": 4, "failed": 2}
    for path in (tmp_path / "here").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert len((tmp_path / "out" / "results.jsonl").read_bytes().splitlines()) == 6
    assert [outcome.state for outcome in carry(make_jobs(tmp_path, "a\nb"), tmp_path / "out", stages)] == ["gone"] * 2


def test_a_job_that_killed_two_workers_fails_and_kills_no_third(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, "a\nb")
    store = FolderStore.open(str(tmp_path / "out"))
    (tmp_path / "out" / ".glmimg" / f"{jobs[0].name}.tried").write_bytes(b"..")
    outcomes = {outcome.job.job.scene.prompt: outcome for outcome in carry(jobs, tmp_path / "out", StubStages())}
    assert outcomes["b"].state == "painted"
    record = outcomes["a"].record
    assert record is not None
    assert (record.status, record.error) == ("failed", "2 workers died while working on it")
    assert store.deaths() == {}


def test_work_of_a_lost_worker_done_again_records_no_failure_twice(tmp_path: Path) -> None:
    """Ray hands the same row to another worker if one dies between recording and answering."""
    out, text = tmp_path / "out", "a\nraise tokens\nraise picture\ndie\n"
    jobs = make_jobs(tmp_path, text)
    FolderStore.open(str(out))
    (out / ".glmimg" / f"{jobs[3].name}.tried").write_bytes(b"..")
    first = carry(jobs, out, StubStages(tmp_path / "log"), "run 1")
    written = (out / "results.jsonl").read_bytes()
    again = carry(make_jobs(tmp_path, text), out, StubStages(tmp_path / "log"), "run 1")
    assert (out / "results.jsonl").read_bytes() == written
    errors = {each.job.name: each.record.error for each in first if each.record and each.record.error}
    assert len(errors) == 3
    assert {each.job.name: each.record.error for each in again if each.record} == errors
    retried = carry(make_jobs(tmp_path, "raise tokens"), out, StubStages(tmp_path / "log"), "run 2")
    assert [each.state for each in retried] == ["failed"]
    assert (out / "results.jsonl").read_bytes() != written, "another run tries again"


@dataclass(frozen=True)
class BrokenStages(StubStages):
    """Stages of which one cannot be loaded."""

    broken: str = "painter"

    def load_tokens(self, layout: Layout, scope: Scope, watch: Watch) -> StubTokens:
        if self.broken == "tokens":
            raise BadDump("x", "is not to be loaded")
        return super().load_tokens(layout, scope, watch)

    def load_painter(self, layout: Layout, scope: Scope, watch: Watch) -> StubPainter:
        if self.broken == "painter":
            raise BadDump("x", "is not to be loaded")
        return super().load_painter(layout, scope, watch)


@pytest.mark.parametrize("broken", ["tokens", "painter"])
def test_a_stage_that_cannot_be_loaded_is_an_answer_and_no_dead_worker(broken: str, tmp_path: Path) -> None:
    stages = BrokenStages(broken=broken)
    write, paint = (
        kind(stages, Scope(64, 64), str(tmp_path / "out"), BatchOptions()) for kind in (_TokenWorker, _PaintWorker)
    )
    (row,) = write({"jobs": pickle.dumps(make_jobs(tmp_path, "a"))})
    error = pickle.loads(paint(row)["outcome"])
    assert isinstance(error, GlmimgError)
    assert (error.message, error.exit_code) == (BadDump("x", "is not to be loaded").message, 3)
