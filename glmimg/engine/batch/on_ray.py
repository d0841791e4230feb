"""A batch on a Ray cluster: a few batched AR workers feed many decoders of batch size 1 through dumps.

Workers draw through the same units of work as a local batch, straight into the output folder, so the
files are the same and a worker that dies loses at most the jobs it held. Ray Data streams the jobs
and starts work again that a dead worker left.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glmimg.engine.batch.engine import BatchEngine
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.progress import Tell
from glmimg.engine.batch.schedule import plan_batches
from glmimg.engine.batch.settings import Cluster
from glmimg.engine.batch.survey import Survey
from glmimg.engine.batch.workbench import RESUME, BatchOptions, Outcome, Workbench
from glmimg.engine.engine import Engine
from glmimg.engine.scope import Scope
from glmimg.engine.stages import Stages
from glmimg.errors import ClusterUnavailable, GlmimgError, UsageError
from glmimg.runtime.checkpoint import Half
from glmimg.text import counted, how_to_install

ANSWER_SECONDS = 5
"""How long a cluster may take to answer at all."""

ENVIRONMENT = {
    "RAY_gcs_rpc_server_connect_timeout_s": str(ANSWER_SECONDS),
    "RAY_raylet_start_wait_time_s": "120",  # a busy machine takes half of it for the first process
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}

HERE = {"include_dashboard": False, "object_store_memory": 100 << 20}
"""A Ray started here: only the names of jobs and their results pass through it, a few kilobytes each."""

FRAME_HEAD_BYTES, SETTINGS_FRAME = 9, 4
"""Of HTTP/2, RFC 9113."""

MAX_DEATHS = 2
"""Workers that may die during a job before it counts as failed."""

SHARE_FOR_WORKERS = 0.8
"""Share of the CPUs; the rest is left to Ray's own tasks, which starve if a pool takes all."""

_START = "Start one (ray start --head), or leave --address out to run on this machine."

Row = dict[str, bytes]


class RayEngine(BatchEngine):
    """A batch engine whose work is done by the workers of a cluster, which must be connected."""

    def __init__(self, stages: Stages, ledger: Ledger, options: BatchOptions, tell: Tell, cluster: Cluster) -> None:
        super().__init__(stages, ledger, options, tell)
        self.cluster = cluster
        self.run_id = secrets.token_hex(8)

    def _draw(self, work: Survey) -> Iterator[Outcome]:
        self.count.painters = self.cluster.dit_workers
        jobs = [*work.write, *work.suspect]
        batches = [*plan_batches(jobs, work.alone, self.options.rows), *([job] for job in work.paint)]
        if not batches:
            return
        scope = Scope.of([job.job for batch in batches for job in batch])
        for row in self._stream([{"jobs": pickle.dumps(batch)} for batch in batches], scope):
            outcome: Outcome | GlmimgError = pickle.loads(row["outcome"])
            if isinstance(outcome, GlmimgError):
                raise outcome
            if outcome.record is not None and (seconds := outcome.record.seconds.get("tokens")) is not None:
                yield Outcome(outcome.job, "written", seconds=seconds)
            yield outcome
            self.bench.check_stop()

    def _stream(self, items: list[Row], scope: Scope) -> Iterator[Row]:
        """Take batches of jobs, and yield the outcomes as they come. Raises ClusterUnavailable (exit 1)."""
        import ray
        import ray.data

        root = self.ledger.store.root
        place = root if "://" in root else str(Path(root).absolute())
        common: dict[str, Any] = _resources(self.cluster)
        common["fn_constructor_args"] = (self.stages, scope, place, self.options, self.run_id)
        # Pools of a fixed size. Ray starts dead workers again, and their work, without end; MAX_DEATHS ends it.
        ar, dit = (ray.data.ActorPoolStrategy(size=n) for n in (self.cluster.ar_workers, self.cluster.dit_workers))
        batches = ray.data.from_items(items, override_num_blocks=len(items))
        pictures = batches.flat_map(_TokenWorker, compute=ar, **common).map(_PaintWorker, compute=dit, **common)
        try:
            yield from pictures.iter_rows()
        except ray.exceptions.RayError as error:
            raise ClusterUnavailable(
                f"{_called(self.cluster)} stopped working: {_first_line(error)}", RESUME
            ) from error


def connect(cluster: Cluster) -> None:
    """Connect to the cluster, or start one here. Raises ClusterUnavailable (exit 1): no Ray installed, or no answer."""
    _check_answers(cluster.address)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterUnavailable("Ray is not installed", how_to_install("ray")) from error
    here = {} if cluster.address else HERE
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True, **here)
    except Exception as error:  # Ray raises bare Exceptions too
        raise ClusterUnavailable(f"{_called(cluster)} does not answer: {_first_line(error)}", _START) from error
    # Every row is a block of its own, so that decoders start with the first dump of a batch. Ray's way to cut blocks,
    # `repartition`, asks for a whole CPU: beside two pools on two cores it never gets it.
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1
    context.enable_progress_bars = context.enable_rich_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _called(cluster: Cluster) -> str:
    return f"the cluster {cluster.address}" if cluster.address else "the Ray started on this machine"


def _check_answers(address: str | None) -> None:
    """Check that Ray listens there: Ray itself waits much longer if there is no answer."""
    if address in (None, "auto", "local"):
        return
    host, colon, port = str(address).removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 1 << 16):
        raise UsageError(
            f"--address {address} is not the address of a cluster", "For example auto, or ray://head:10001."
        )
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS) as line:
            answered = os.environ.get("RAY_USE_TLS", "0") != "0" or _speaks_http2(line)
    except OSError as error:
        raise ClusterUnavailable(f"the cluster {address} does not answer: {error.strerror or error}", _START) from error
    if not answered:
        raise ClusterUnavailable(f"the cluster {address} does not answer: what listens there is not Ray", _START)


def _speaks_http2(line: socket.socket) -> bool:
    """Whether the server speaks HTTP/2, as gRPC and thus Ray does: its first frame must be SETTINGS."""
    line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, SETTINGS_FRAME, 0, 0, 0, 0, 0]))
    first = line.recv(FRAME_HEAD_BYTES, socket.MSG_WAITALL)
    return len(first) == FRAME_HEAD_BYTES and first[3] == SETTINGS_FRAME


def _resources(cluster: Cluster) -> dict[str, Any]:
    """What each worker requests from Ray: an equal share of the CPUs (at most one) and of the GPUs (at most one)."""
    import ray

    there, workers = ray.cluster_resources(), cluster.ar_workers + cluster.dit_workers
    share = {"num_cpus": there.get("CPU", 1) * SHARE_FOR_WORKERS / workers, "num_gpus": there.get("GPU", 0) / workers}
    return {name: round(min(1.0, part), 3) for name, part in share.items() if part}


class _Worker:
    """What both kinds of workers have: their loaded stage, and a workbench on the shared folder."""

    half: Half

    def __init__(self, stages: Stages, scope: Scope, place: str, options: BatchOptions, run: str = "") -> None:
        self.engine = Engine(stages, scope)
        self.bench = Workbench.at(place, stages, options, run)
        self.broken: GlmimgError | None = None
        try:
            self.engine.load(self.half)
        except GlmimgError as error:  # Ray would start a worker again and again if its constructor raised
            self.broken = error

    def refuse_deadly(self, jobs: list[BatchJob]) -> list[Outcome]:
        """Remove from `jobs` those during which too many workers died, and those that failed before this retry."""
        if self.broken is not None:
            raise self.broken
        self.bench.ledger.refresh()
        deaths, outcomes = self.bench.store.deaths(), []
        for job in list(jobs):
            outcome, died = self.bench.failed_before(job), deaths.get(job.name, 0)
            if outcome is None and died >= MAX_DEATHS:
                outcome = self.bench.fail(job, f"{counted(died, 'worker')} died while working on it")
            if outcome is not None:
                jobs.remove(job)
                self.bench.store.forgive(job.name)
                outcomes.append(outcome)
        return outcomes


class _TokenWorker(_Worker):
    """Stage 1 on a cluster: takes a batch of jobs, returns a row per job."""

    half: Half = "ar"

    def __call__(self, row: Row) -> list[Row]:
        jobs: list[BatchJob] = pickle.loads(row["jobs"])
        try:
            outcomes = self.refuse_deadly(jobs)
            alone = {job.name for job in jobs} & self.bench.store.deaths().keys()
            for batch in plan_batches(jobs, alone, len(jobs) or 1):
                outcomes += self.bench.write(self.engine, batch)
        except GlmimgError as error:
            return [{"outcome": pickle.dumps(error)}]
        return [{"outcome": pickle.dumps(outcome)} for outcome in outcomes]


class _PaintWorker(_Worker):
    """Stage 2 on a cluster: takes a job with its dump, returns its record."""

    half: Half = "dit"

    def __call__(self, row: Row) -> Row:
        outcome: Outcome | GlmimgError = pickle.loads(row["outcome"])
        if isinstance(outcome, Outcome) and outcome.state == "written":
            try:
                refused = self.refuse_deadly([outcome.job])
                outcome = refused[0] if refused else self.bench.paint(self.engine, outcome.job, outcome.seconds)
            except GlmimgError as error:
                outcome = error
        return {"outcome": pickle.dumps(outcome)}
