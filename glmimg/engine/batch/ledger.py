"""The results of a batch: one line per finished job, from which a later run knows what is done."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from glmimg import __version__
from glmimg.engine.batch.folder import Store
from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.stages import ModelId
from glmimg.job import Job

Status = Literal["done", "failed"]


class Record(BaseModel):
    """The result of one job. A later record of the same name replaces an earlier one.

    key:     identity of job and weights: a different job under the same name has a different key
    picture: file name, None if the job failed
    tokens:  file name of the dump, None if the job failed before it was written
    sizes, sha256, changed: of each of the two files, as `Stamp` has them
    seconds: of each stage, None for one that did not finish in the run that wrote this
    run:     which run of a cluster wrote this; empty elsewhere
    """

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    key: str
    prompt: str
    size: str
    seed: int
    dit_seed: int
    steps: int
    guidance: float
    temperature: float
    top_p: float
    picture: str | None = None
    tokens: str | None = None
    sizes: dict[str, int] = {}
    sha256: dict[str, str] = {}
    changed: dict[str, int] = {}
    seconds: dict[str, float | None] = {}
    error: str | None = None
    model: str
    fingerprint: str
    changes: list[str] = []
    finished: str
    host: str
    run: str = ""
    glmimg: str = __version__

    def line(self) -> bytes:
        """The record as a line of the file, without its newline."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False).encode()


def job_key(model: ModelId, job: Job) -> str:
    """Identity of a job drawn with these weights, 16 hex digits; the prompt's earlier forms do not matter."""
    job = job.model_copy(update={"scene": job.scene.model_copy(update={"forms": ()})})
    identity = "\0".join([model.fingerprint, job.model_dump_json(), *model.changes])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept in memory of a record: enough to know whether its job is done, and how long it took."""

    name: str
    status: Status
    key: str
    sizes: dict[str, int]
    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)] | None]
    sha256: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    run: str = ""


_read_entry = TypeAdapter(Entry).validate_json


@dataclass
class Pace:
    """Measured seconds a job of each stage."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    jobs: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, seconds: dict[str, float | None]) -> None:
        for stage, measured in seconds.items():
            if measured is not None:
                self.seconds[stage] += measured
                self.jobs[stage] += 1

    def mean(self, stage: str) -> float | None:
        """Mean seconds a job of `tokens` or `picture`, None if never measured."""
        return self.seconds[stage] / self.jobs[stage] if self.jobs[stage] else None


class Ledger:
    """The records of an output folder, updated as other processes add theirs."""

    def __init__(self, store: Store, model: ModelId) -> None:
        self.store = store
        self.model = model
        self.entries: dict[str, Entry] = {}
        self.pace = Pace()
        self._reading = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since. A torn line (power loss) counts as never written."""
        with self._reading:
            for line in self.store.read_results():
                with suppress(ValidationError):
                    entry = _read_entry(line)
                    self.pace.add(entry.seconds)
                    self.entries[entry.name] = entry

    def record(self, job: BatchJob, status: Status, **what: Any) -> Record:
        """A record of a job that just finished; `what` are the fields of its result."""
        scene, sampling, painting = job.job.scene, job.job.sampling, job.job.painting
        return Record(
            name=job.name,
            status=status,
            key=job_key(self.model, job.job),
            prompt=scene.prompt,
            size=str(scene.size),
            **sampling.model_dump(include={"seed", "temperature", "top_p"}),
            **painting.model_dump(include={"dit_seed", "steps", "guidance"}),
            model=self.model.id,
            fingerprint=self.model.fingerprint,
            changes=list(self.model.changes),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            host=socket.gethostname(),
            **what,
        )

    def add(self, record: Record) -> Record:
        """Put a record on disk, and return it. Raises WriteError (exit 1)."""
        self.store.add_result(record.line())
        self.entries[record.name] = Entry(**{each.name: getattr(record, each.name) for each in fields(Entry)})
        return record

    def entry_of(self, job: BatchJob) -> Entry | None:
        """The ledger's entry of exactly this job, drawn with these weights."""
        entry = self.entries.get(job.name)
        return entry if entry is not None and entry.key == job_key(self.model, job.job) else None

    def has_failed(self, job: BatchJob) -> bool:
        """Whether the job's last record is a failure."""
        entry = self.entries.get(job.name)
        return entry is not None and entry.status == "failed"
