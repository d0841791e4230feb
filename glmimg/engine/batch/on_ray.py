"""A batch on a Ray cluster: a few batched AR workers feed many decoders of batch 1, and only dumps lie between.

Workers draw through the same units of work as a batch here, straight into the output place, so the
files are the same and a worker that dies costs at most the jobs it held. Ray Data streams the jobs
and starts work again that a dead worker left.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from glmimg.engine.batch.engine import BatchEngine, BatchOptions
from glmimg.engine.batch.events import BatchEvent, Tell
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.rounds import plan_batches
from glmimg.engine.batch.stages import Stages
from glmimg.engine.batch.store import Store, open_store
from glmimg.engine.batch.survey import Survey
from glmimg.engine.batch.workbench import Outcome, Workbench
from glmimg.errors import ClusterUnavailable, UsageError
from glmimg.events import Event

ANSWER_SECONDS = 5
"""How long a cluster may take to answer at all."""

MAX_DEATHS = 2
"""Workers a job may take with it before it counts as failed."""

SHARE_FOR_WORKERS = 0.8
"""Of the CPUs; the rest is left to Ray's own tasks, which starve beside a pool that takes all."""

Row = dict[str, bytes]


@dataclass(frozen=True)
class Cluster:
    """Which Ray, and how many workers of each kind.

    address: None starts one on this machine; `auto`, `host:port` or `ray://host:port` name one that runs
    """

    address: str | None = None
    ar_workers: int = 1
    dit_workers: int = 2


class RayEngine(BatchEngine):
    """A batch engine whose units of work are done by the workers of a cluster, which must be connected."""

    def __init__(
        self, stages: Stages, store: Store, ledger: Ledger, options: BatchOptions, tell: Tell, cluster: Cluster
    ) -> None:
        super().__init__(stages, store, ledger, options, tell)
        self.cluster = cluster

    def _draw(self, work: Survey) -> Iterator[Outcome]:
        import ray.data

        self.count.painters = self.cluster.dit_workers
        jobs = [*work.write, *work.suspect]
        batches = [*plan_batches(jobs, work.alone, self.options.ar_batch), *([job] for job in work.paint)]
        items = [{"jobs": pickle.dumps(batch)} for batch in batches]
        if not items:
            return
        worker = (self.stages, _absolute(self.store.root), self.options.metadata)
        resources = _resources(self.cluster)
        dumps = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
            _TokenWorker, fn_constructor_args=worker, **_pool(self.cluster.ar_workers, resources)
        )
        pictures = dumps.repartition(target_num_rows_per_block=1).map(
            _PaintWorker, fn_constructor_args=worker, **_pool(self.cluster.dit_workers, resources)
        )
        for row in pictures.iter_rows():
            self.bench.check_stop()
            outcome: Outcome = pickle.loads(row["outcome"])
            if outcome.record is not None and (seconds := outcome.record.seconds.get("tokens")) is not None:
                self.bench.shares[outcome.job.name] = seconds
                yield Outcome(outcome.job, "written")
                del self.bench.shares[outcome.job.name]
            yield outcome


def connect(cluster: Cluster) -> None:
    """Reach the cluster, or start one here.

    raises: ClusterUnavailable (exit 1): Ray is not installed, or nobody answers
    """
    _check_answers(cluster.address)
    os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", str(ANSWER_SECONDS))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterUnavailable("Ray is not installed", "Install it: pip install 'glmimg[ray]'") from error
    here = {} if cluster.address else {"include_dashboard": False}
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True, **here)
    except Exception as error:  # Ray raises bare Exceptions too
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterUnavailable(f"{_called(cluster)} does not answer: {reason}", _START) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_rich_progress_bars = False


_START = "Start one (ray start --head), or leave --address out to run on this machine."


def _called(cluster: Cluster) -> str:
    return f"the cluster {cluster.address}" if cluster.address else "the Ray started on this machine"


def _check_answers(address: str | None) -> None:
    """Whether somebody listens there at all: Ray itself waits much longer for nobody."""
    if address in (None, "auto", "local"):
        return
    host, colon, port = str(address).removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 1 << 16):
        raise UsageError(f"--address {address} is no address of a cluster", "For example auto, or ray://head:10001.")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterUnavailable(f"the cluster {address} does not answer: {error.strerror or error}", _START) from error


def _resources(cluster: Cluster) -> dict[str, float]:
    """What each worker asks Ray for: an equal share of the CPUs (one at most) and of the GPUs (one at most)."""
    import ray

    there, workers = ray.cluster_resources(), cluster.ar_workers + cluster.dit_workers
    gpus = there.get("GPU", 0)
    share = {"num_cpus": round(min(1.0, there.get("CPU", 1) * SHARE_FOR_WORKERS / workers), 3)}
    return share | ({"num_gpus": round(min(1.0, gpus / workers), 3)} if gpus else {})


def _pool(size: int, resources: dict[str, float]) -> dict[str, Any]:
    import ray.data

    return {"compute": ray.data.ActorPoolStrategy(size=size), "max_restarts": -1, "max_task_retries": 3, **resources}


def _absolute(root: str) -> str:
    return root if "://" in root else os.path.abspath(root)  # noqa: PTH100


class _Worker:
    """What both kinds of workers have: a workbench of their own on the shared place."""

    def __init__(self, stages: Stages, place: str, metadata: bool) -> None:
        self.stages = stages
        self.store = open_store(place)
        ledger = Ledger(self.store, stages.model)
        self.bench = Workbench(stages, self.store, ledger, _unheard, metadata, ledger.add, lambda: False)

    def refuse_deadly(self, jobs: list[BatchJob]) -> list[Outcome]:
        """Jobs that took too many workers with them, recorded as failed and taken out of `jobs`."""
        deaths = self.store.deaths()
        outcomes = []
        for job in [job for job in jobs if deaths.get(job.name, 0) >= MAX_DEATHS]:
            jobs.remove(job)
            self.store.forgive(job.name)
            error = f"{deaths[job.name]} workers died while working on it"
            record = self.bench.ledger.model.record(job, "failed", error=error)
            self.bench.keep(record)
            outcomes.append(Outcome(job, "failed", record))
        return outcomes


class _TokenWorker(_Worker):
    """Stage 1 on a cluster: one batch of jobs in, a row a job out."""

    def __init__(self, stages: Stages, place: str, metadata: bool) -> None:
        super().__init__(stages, place, metadata)
        self.stage = stages.load_tokens(_unheard)

    def __call__(self, row: Row) -> list[Row]:
        jobs: list[BatchJob] = pickle.loads(row["jobs"])
        outcomes = self.refuse_deadly(jobs)
        deaths = self.store.deaths()
        for batch in plan_batches(jobs, {job.name for job in jobs if job.name in deaths}, len(jobs) or 1):
            outcomes += self.bench.write(self.stage, batch)
        shares = self.bench.shares
        return [
            {"outcome": pickle.dumps(each), "share": pickle.dumps(shares.pop(each.job.name, None))} for each in outcomes
        ]


class _PaintWorker(_Worker):
    """Stage 2 on a cluster: one job with its dump in, its record out."""

    def __init__(self, stages: Stages, place: str, metadata: bool) -> None:
        super().__init__(stages, place, metadata)
        self.stage = stages.load_painter(_unheard)

    def __call__(self, row: Row) -> Row:
        outcome: Outcome = pickle.loads(row["outcome"])
        share = pickle.loads(row["share"])
        if outcome.state == "written":
            if share is not None:
                self.bench.shares[outcome.job.name] = share
            refused = self.refuse_deadly([outcome.job])
            outcome = refused[0] if refused else self.bench.paint(self.stage, outcome.job)
        return {"outcome": pickle.dumps(outcome)}


def _unheard(event: BatchEvent | Event) -> None:
    """Nobody watches a worker."""
