"""Killed at any moment, crashed by a job, shared by two processes: nothing lost, nothing twice, nothing half."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from glmimg.cli.batch_report import stop_on_signals
from glmimg.cli.console import Console
from glmimg.engine.batch.engine import BatchEngine
from glmimg.engine.batch.folder import open_store
from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.survey import survey
from glmimg.engine.batch.workbench import BatchOptions
from glmimg.errors import GlmimgError
from glmimg.image_io import read_provenance
from glmimg.tokens.dump_file import read_dump
from tests.batch.conftest import make_jobs
from tests.batch.stubs import StubPainter, StubStages

JOBS = 14


@dataclass
class Batch:
    """A batch over stub stages in a forked process, which starts faster than a new interpreter."""

    process: BaseProcess
    ended: Connection
    names: list[str] = field(default_factory=list)

    def one_more(self) -> None:
        """Wait until a further job has ended, or the process."""
        try:
            self.names.append(self.ended.recv())
        except EOFError:
            return

    def wait(self) -> int:
        """The exit status, negative for a signal."""
        self.process.join(60)
        while self.ended.poll():
            try:
                self.names.append(self.ended.recv())
            except EOFError:
                break
        assert self.process.exitcode is not None, "it hangs"
        return self.process.exitcode


def start(folder: Path, seconds: float = 0.02) -> Batch:
    fork = multiprocessing.get_context("fork")
    ended, told = fork.Pipe(duplex=False)
    process = fork.Process(target=run_batch, args=(folder, seconds, told))
    process.start()
    told.close()
    return Batch(process, ended)


def run_batch(folder: Path, seconds: float, told: Connection) -> None:
    stages = StubStages(folder / "log", seconds=seconds)
    store = open_store(str(folder / "out"))
    ledger = Ledger(store, stages.model)
    work = survey(make_jobs(folder, (folder / "jobs").read_text()), ledger)
    engine = BatchEngine(stages, ledger, BatchOptions(rows=2), lambda event: None)
    try:
        with stop_on_signals(engine.stop, Console(quiet=True)):
            for record in engine.run(work):
                told.send(record.name)
    except GlmimgError as error:
        sys.exit(error.exit_code)


def prepare(folder: Path, text: str | None = None) -> Path:
    (folder / "jobs").write_text(text or "\n".join(f'{{"prompt": "p{n}", "seed": {n}}}' for n in range(JOBS)))
    return folder


def check_whole(folder: Path, jobs: int = JOBS) -> Counter[str]:
    """Every job done once, every file whole. Returns how often each unit of work was begun and finished."""
    out = folder / "out"
    good = []
    for line in (out / "results.jsonl").read_text().splitlines():
        try:
            good.append(json.loads(line))
        except ValueError:
            continue
    assert Counter(record["name"] for record in good if record["status"] == "done").most_common(1)[0][1] == 1
    assert sum(record["status"] == "done" for record in good) == jobs
    for record in good:
        assert read_dump(out / record["tokens"]).seed == record["seed"]
        assert read_provenance(out / record["picture"]).job.sampling.seed == record["seed"]
    assert not list(out.glob(".*.part"))
    return Counter((folder / "log").read_text().splitlines())


def test_killed_at_random_moments_and_resumed(tmp_path: Path) -> None:
    prepare(tmp_path)
    generator = random.Random(7)
    kills = 0
    for _ in range(12):
        process = start(tmp_path)
        for _ in range(generator.randrange(4)):
            process.one_more()
        time.sleep(generator.uniform(0, 0.1))
        process.process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    assert start(tmp_path).wait() == 0
    units = check_whole(tmp_path)
    # A unit may have been begun again only if its process was killed before its file was whole: two jobs
    # of stage 1 or one of stage 2 are under way at a time.
    assert sum(units.values()) - len(units) <= 2 * kills


def test_a_job_that_kills_its_process_is_found_out(tmp_path: Path) -> None:
    prepare(tmp_path, "a\ndie picture\nb\nc\n")
    ends = [start(tmp_path).wait() for _ in range(3)]
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {record["prompt"]: record["status"] for record in records} == {
        "a": "done", "b": "done", "c": "done", "die picture": "failed",
    }  # fmt: skip
    failed = next(record for record in records if record["status"] == "failed")
    assert failed["error"] == "the process working on it died (SIGKILL)"


def test_two_processes_share_a_folder_and_do_nothing_twice(tmp_path: Path) -> None:
    prepare(tmp_path)
    both = [start(tmp_path, 0.05) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    units = check_whole(tmp_path)
    assert set(units.values()) == {1}
    assert sorted(both[0].names + both[1].names) == sorted({*both[0].names, *both[1].names})
    assert len(both[0].names) + len(both[1].names) == JOBS


def test_a_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    prepare(tmp_path, "slow 1\nb\n")
    first = start(tmp_path)
    hidden = tmp_path / "out" / ".glmimg"
    while first.process.is_alive() and not list(hidden.glob("*.tried")):
        time.sleep(0.01)
    first.process.kill()
    first.wait()
    assert list(hidden.glob("*.lock"))
    started = time.monotonic()
    assert start(tmp_path).wait() == 0
    assert time.monotonic() - started < 15
    check_whole(tmp_path, 2)
    assert [path.name for path in hidden.iterdir()] == [".results.lock"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_work_at_hand_and_leaves_with_130(tmp_path: Path, number: signal.Signals) -> None:
    prepare(tmp_path)
    process = start(tmp_path, 0.1)
    process.one_more()
    assert process.process.pid is not None
    os.kill(process.process.pid, number)
    assert process.wait() == 130
    assert not list((tmp_path / "out" / ".glmimg").glob("*.tried"))
    assert start(tmp_path).wait() == 0
    assert set(check_whole(tmp_path).values()) == {1}


def suspects(folder: Path, text: str) -> Path:
    """A list whose jobs have each killed two processes, so that each is drawn in one of its own."""
    prepare(folder, text)
    hidden = folder / "out" / ".glmimg"
    hidden.mkdir(parents=True)
    for job in make_jobs(folder, text):
        (hidden / f"{job.name}.tried").write_bytes(b"..")
    return folder


def child_of(batch: Batch) -> int:
    """The process a batch draws a suspect in, as soon as there is one."""
    children = Path(f"/proc/{batch.process.pid}/task/{batch.process.pid}/children")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for pid in children.read_text().split():
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        time.sleep(0.01)
    raise AssertionError("no process was started")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_for_all_processes_end_an_isolated_job_as_any_other(tmp_path: Path, number: signal.Signals) -> None:
    suspects(tmp_path, "a\nb\n")
    batch = start(tmp_path)
    for pid in (child_of(batch), batch.process.pid):
        os.kill(pid or 0, number)
    assert batch.wait() == 130
    assert "failed" not in (tmp_path / "out" / "results.jsonl").read_text()
    assert start(tmp_path).wait() == 0
    assert set(check_whole(tmp_path, 2).values()) == {1}


def test_a_second_interrupt_drops_an_isolated_job(tmp_path: Path) -> None:
    batch = start(suspects(tmp_path, "a\n"), seconds=60)
    child = child_of(batch)
    for _ in range(2):
        os.kill(batch.process.pid or 0, signal.SIGINT)
        time.sleep(0.2)
    assert batch.wait() == 130
    assert not lives(child)
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_nobody_writes_on_when_a_batch_was_killed(tmp_path: Path) -> None:
    batch = start(suspects(tmp_path, "a\n"), seconds=4)
    child = child_of(batch)
    time.sleep(1)
    batch.process.kill()
    assert batch.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 3
    while lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(child)
    assert not (tmp_path / "log").exists()


class Unclosable(StubStages):
    """Stages whose process ends badly after its work."""

    def load_painter(self, *arguments: Any) -> StubPainter:
        return UnclosablePainter(self)


class UnclosablePainter(StubPainter):
    def close(self) -> None:
        raise RuntimeError("the driver went away")


def test_an_error_of_an_isolated_process_is_its_jobs_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text, stages = "a\nb\n", Unclosable(tmp_path / "log")
    store = open_store(str(suspects(tmp_path, text) / "out"))
    ledger = Ledger(store, stages.model)
    work = survey(make_jobs(tmp_path, text), ledger)
    assert len(work.suspect) == 2
    records = list(BatchEngine(stages, ledger, BatchOptions(), lambda event: None).run(work))
    assert [record.error for record in records] == ["RuntimeError: the driver went away"] * 2
    assert "Traceback" not in capfd.readouterr().err
