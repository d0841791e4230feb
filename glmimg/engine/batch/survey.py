"""What of a batch is there already, found before any weights load.

The folder is believed, not only the ledger: a dump or picture that is whole and belongs to the job
counts even if the process died before it could say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger, job_key
from glmimg.engine.batch.store import Store
from glmimg.errors import BadDump, BadImage, OutputError
from glmimg.image_io import read_provenance
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import parse_dump

State = Literal["done", "found", "paint", "write"]
"""Of a job: whole and recorded; whole, but not recorded; its dump is there; nothing is there."""

SUSPECT_DEATHS = 2
"""One death may be anybody's kill -9; the second on the same job speaks against the job."""


@dataclass
class Survey:
    """The jobs of a batch by what they still need. All but `done` are in the order of drawing.

    paint:   their dump is there, perhaps even a picture that was not recorded
    write:   nothing is there
    alone:   names of those among them a process died on once; drawn last, one at a time
    suspect: a process died on them twice or more; drawn after all others, in a process of their own
    """

    done: list[BatchJob] = field(default_factory=list)
    paint: list[BatchJob] = field(default_factory=list)
    write: list[BatchJob] = field(default_factory=list)
    alone: set[str] = field(default_factory=set)
    suspect: list[BatchJob] = field(default_factory=list)

    @property
    def to_do(self) -> int:
        """Pictures to paint."""
        return len(self.paint) + len(self.write) + len(self.suspect)

    @property
    def to_write(self) -> int:
        """Dumps to write, at most."""
        return len(self.write) + len(self.suspect)


def survey(jobs: list[BatchJob], store: Store, ledger: Ledger, *, force: bool = False) -> Survey:
    """Sort the jobs by what is there.

    force:  files of another job under a name are to be overwritten
    raises: OutputError (exit 2) naming such files otherwise
    """
    found, conflicts = Survey(), []
    sizes, deaths = store.sizes(), store.deaths()
    for job in jobs:
        try:
            state = state_of(job, store, ledger, sizes)
        except OutputError as conflict:
            if not force:
                conflicts.append(conflict.message)
            state = "write"
        if state == "done":
            found.done.append(job)
        elif state != "found" and deaths.get(job.name, 0) >= SUSPECT_DEATHS:
            found.suspect.append(job)
        else:
            (found.write if state == "write" else found.paint).append(job)
            if job.name in deaths:
                found.alone.add(job.name)
    if conflicts:
        raise OutputError(
            f"{len(conflicts)} jobs would overwrite files of others:" + "".join(f"\n  {each}" for each in conflicts),
            "Choose another folder or other names, or overwrite them with --force.",
        )
    found.paint.sort(key=lambda job: job.name in found.alone)
    return found


def state_of(job: BatchJob, store: Store, ledger: Ledger, sizes: dict[str, int] | None = None) -> State:
    """What of a job is there. sizes: of the files in the store. Raises OutputError for files of another job."""
    if sizes is None:
        sizes = {name: store.size(name) for name in (job.picture, job.dump) if store.exists(name)}
    has_dump, has_picture = job.dump in sizes, job.picture in sizes
    there = {"picture": sizes.get(job.picture), "tokens": sizes.get(job.dump)}
    if ledger.is_done(job) and ledger.entries[job.name].sizes == there:
        return "done"
    if has_dump:
        try:
            read_own_dump(job, store, ledger)
        except BadDump:
            has_dump = False
    if has_picture and _is_own_picture(job, store, ledger):
        return "found" if has_dump else "write"
    entry = ledger.entries.get(job.name)
    if has_picture and not has_dump and (entry is None or entry.key != job_key(ledger.model, job.job)):
        raise OutputError(f"{store.place(job.picture)} exists and was not made by this batch")
    return "paint" if has_dump else "write"


def read_own_dump(job: BatchJob, store: Store, ledger: Ledger) -> TokenDump:
    """The dump of a job.

    raises: BadDump (exit 3) for one that is missing or damaged; OutputError (exit 2) for one of another job or model
    """
    name = store.place(job.dump)
    try:
        dump = parse_dump(store.read(job.dump), name)
    except OSError as error:
        raise BadDump(name, f"cannot be read: {error.strerror or error}") from error
    if dump.job(job.job.painting) != job.job:
        raise OutputError(f"{name} belongs to another job ({dump.prompt[:60]!r}, {dump.width}x{dump.height})")
    if not ledger.model.wrote(dump):
        raise OutputError(f"{name} was written by other weights ({', '.join([dump.model.id, *dump.model.changes])})")
    return dump


def _is_own_picture(job: BatchJob, store: Store, ledger: Ledger) -> bool:
    """Whether the picture says it is this job's; False for one that says nothing. Raises OutputError."""
    name = store.place(job.picture)
    try:
        made = read_provenance(Path(name), store.read(job.picture))
    except (BadImage, OSError):
        return False
    weights = (made.model.fingerprint, tuple(made.changes))
    if made.job != job.job or weights != (ledger.model.fingerprint, ledger.model.changes):
        raise OutputError(f"{name} is a picture of another job or model")
    return True
