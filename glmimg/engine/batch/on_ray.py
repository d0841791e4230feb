"""A batch on a Ray cluster: a few batched AR workers feed many decoders of batch 1, and only dumps lie between.

Workers draw through the same units of work as a batch here, straight into the output place, so the
files are the same and a worker that dies costs at most the jobs it held. Ray Data streams the jobs
and starts work again that a dead worker left.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glmimg.engine.batch.engine import BatchEngine, BatchOptions
from glmimg.engine.batch.isolate import plain
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger, make_record
from glmimg.engine.batch.progress import Tell
from glmimg.engine.batch.schedule import plan_batches
from glmimg.engine.batch.settings import Cluster
from glmimg.engine.batch.store import Store
from glmimg.engine.batch.survey import Survey
from glmimg.engine.batch.workbench import RESUME, Outcome, Workbench
from glmimg.engine.engine import Engine
from glmimg.engine.stages import Scope, Stages
from glmimg.errors import ClusterUnavailable, GlmimgError, UsageError
from glmimg.runtime.checkpoint import Half

ANSWER_SECONDS = 5
"""How long a cluster may take to answer at all."""

START_SECONDS = 120
"""How long a Ray started here may take: on a busy machine its first process alone takes half a minute."""

OBJECT_STORE_BYTES = 100 << 20
"""Of a Ray started here. Only the names of jobs and their results pass through it, a few kilobytes each."""

FRAME_HEAD_BYTES, SETTINGS_FRAME = 9, 4
"""Of HTTP/2, RFC 9113."""

MAX_DEATHS = 2
"""Workers a job may take with it before it counts as failed."""

SHARE_FOR_WORKERS = 0.8
"""Of the CPUs; the rest is left to Ray's own tasks, which starve beside a pool that takes all."""

Row = dict[str, bytes]


class RayEngine(BatchEngine):
    """A batch engine whose units of work are done by the workers of a cluster, which must be connected."""

    def __init__(
        self, stages: Stages, store: Store, ledger: Ledger, options: BatchOptions, tell: Tell, cluster: Cluster
    ) -> None:
        super().__init__(stages, store, ledger, options, tell)
        self.cluster = cluster

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
                self.bench.shares[outcome.job.name] = seconds
                yield Outcome(outcome.job, "written")
                del self.bench.shares[outcome.job.name]
            yield outcome
            self.bench.check_stop()

    def _stream(self, items: list[Row], scope: Scope) -> Iterator[Row]:
        """Batches of jobs in, outcomes of jobs out as they come. Raises ClusterUnavailable (exit 1)."""
        import ray
        import ray.data

        place = self.store.root if "://" in self.store.root else str(Path(self.store.root).absolute())
        worker = (self.stages, scope, place, self.options.metadata)
        resources = _resources(self.cluster)
        dumps = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
            _TokenWorker, fn_constructor_args=worker, **_pool(self.cluster.ar_workers, resources)
        )
        pictures = dumps.map(_PaintWorker, fn_constructor_args=worker, **_pool(self.cluster.dit_workers, resources))
        try:
            yield from pictures.iter_rows()
        except ray.exceptions.RayError as error:
            reason = _first_line(error)
            raise ClusterUnavailable(f"{_called(self.cluster)} stopped working: {reason}", RESUME) from error


def connect(cluster: Cluster) -> None:
    """Reach the cluster, or start one here.

    raises: ClusterUnavailable (exit 1): Ray is not installed, or nobody answers
    """
    _check_answers(cluster.address)
    os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", str(ANSWER_SECONDS))
    os.environ.setdefault("RAY_raylet_start_wait_time_s", str(START_SECONDS))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterUnavailable("Ray is not installed", "Install it: pip install 'glmimg[ray]'") from error
    here = {} if cluster.address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True, **here)
    except Exception as error:  # Ray raises bare Exceptions too
        raise ClusterUnavailable(f"{_called(cluster)} does not answer: {_first_line(error)}", _START) from error
    _set_up_streaming(ray.data.DataContext.get_current())


def _set_up_streaming(context: Any) -> None:
    """Every row a block of its own, so that decoders start with the first dump of a batch; no talk of Ray's own.

    Ray's way to cut blocks, `repartition`, asks for a whole CPU: beside two pools on two cores it never gets it.
    """
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.enable_rich_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


_START = "Start one (ray start --head), or leave --address out to run on this machine."


def _called(cluster: Cluster) -> str:
    return f"the cluster {cluster.address}" if cluster.address else "the Ray started on this machine"


def _check_answers(address: str | None) -> None:
    """Whether a Ray listens there at all: Ray itself waits much longer for nobody, and for one who keeps silent."""
    if address in (None, "auto", "local"):
        return
    host, colon, port = str(address).removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 1 << 16):
        raise UsageError(f"--address {address} is no address of a cluster", "For example auto, or ray://head:10001.")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS) as line:
            answered = os.environ.get("RAY_USE_TLS", "0") != "0" or _speaks_http2(line)
    except OSError as error:
        raise ClusterUnavailable(f"the cluster {address} does not answer: {error.strerror or error}", _START) from error
    if not answered:
        raise ClusterUnavailable(f"the cluster {address} does not answer: what listens there is no Ray", _START)


def _speaks_http2(line: socket.socket) -> bool:
    """Whether the other side opens HTTP/2, as gRPC and so every Ray does: its first frame has to be of SETTINGS."""
    line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, SETTINGS_FRAME, 0, 0, 0, 0, 0]))
    first = line.recv(FRAME_HEAD_BYTES, socket.MSG_WAITALL)
    return len(first) == FRAME_HEAD_BYTES and first[3] == SETTINGS_FRAME


def _resources(cluster: Cluster) -> dict[str, float]:
    """What each worker asks Ray for: an equal share of the CPUs (one at most) and of the GPUs (one at most)."""
    import ray

    there, workers = ray.cluster_resources(), cluster.ar_workers + cluster.dit_workers
    gpus = there.get("GPU", 0)
    share = {"num_cpus": round(min(1.0, there.get("CPU", 1) * SHARE_FOR_WORKERS / workers), 3)}
    return share | ({"num_gpus": round(min(1.0, gpus / workers), 3)} if gpus else {})


def _pool(size: int, resources: dict[str, float]) -> dict[str, Any]:
    """A fixed number of workers. Ray starts dead ones again, and their work, without end; `MAX_DEATHS` ends it."""
    import ray.data

    return {"compute": ray.data.ActorPoolStrategy(size=size), **resources}


class _Worker:
    """What both kinds of workers have: their half, loaded, and a workbench of their own on the shared place."""

    half: Half

    def __init__(self, stages: Stages, scope: Scope, place: str, metadata: bool) -> None:
        self.engine = Engine(stages, scope)
        self.bench = Workbench.at(place, stages, metadata)
        self.broken: GlmimgError | None = None
        try:
            self.engine.load(self.half)
        except GlmimgError as error:  # Ray would start a worker that raises while it is made again and again
            self.broken = plain(error)

    def refuse_deadly(self, jobs: list[BatchJob]) -> list[Outcome]:
        """Jobs that took too many workers with them, recorded as failed and taken out of `jobs`."""
        deaths = self.bench.store.deaths()
        outcomes = []
        for job in [job for job in jobs if deaths.get(job.name, 0) >= MAX_DEATHS]:
            jobs.remove(job)
            self.bench.store.forgive(job.name)
            error = f"{deaths[job.name]} workers died while working on it"
            record = make_record(self.bench.ledger.model, job, "failed", error=error)
            self.bench.keep(record)
            outcomes.append(Outcome(job, "failed", record))
        return outcomes


class _TokenWorker(_Worker):
    """Stage 1 on a cluster: one batch of jobs in, a row a job out."""

    half: Half = "ar"

    def __call__(self, row: Row) -> list[Row]:
        try:
            outcomes = self._write(pickle.loads(row["jobs"]))
        except GlmimgError as error:
            return [{"outcome": pickle.dumps(plain(error)), "share": pickle.dumps(None)}]
        shares = self.bench.shares
        return [
            {"outcome": pickle.dumps(each), "share": pickle.dumps(shares.pop(each.job.name, None))} for each in outcomes
        ]

    def _write(self, jobs: list[BatchJob]) -> list[Outcome]:
        """Raises what loading the stage raised, and as `Workbench.write`."""
        if self.broken is not None:
            raise self.broken
        outcomes = self.refuse_deadly(jobs)
        deaths = self.bench.store.deaths()
        for batch in plan_batches(jobs, {job.name for job in jobs if job.name in deaths}, len(jobs) or 1):
            outcomes += self.bench.write(self.engine, batch)
        return outcomes


class _PaintWorker(_Worker):
    """Stage 2 on a cluster: one job with its dump in, its record out."""

    half: Half = "dit"

    def __call__(self, row: Row) -> Row:
        outcome: Outcome | GlmimgError = pickle.loads(row["outcome"])
        if isinstance(outcome, Outcome) and outcome.state == "written":
            outcome = self._paint(outcome.job, pickle.loads(row["share"]))
        return {"outcome": pickle.dumps(outcome)}

    def _paint(self, job: BatchJob, share: float | None) -> Outcome | GlmimgError:
        """share: of the job in the time of stage 1; None if its dump was there."""
        if self.broken is not None:
            return self.broken
        if share is not None:
            self.bench.shares[job.name] = share
        if refused := self.refuse_deadly([job]):
            return refused[0]
        try:
            return self.bench.paint(self.engine, job)
        except GlmimgError as error:
            return plain(error)
