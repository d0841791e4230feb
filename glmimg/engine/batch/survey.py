"""What of a batch is there already, found before any weights load.

The folder is believed, not only the ledger: a dump or picture that is whole and belongs to the job
counts even if the process died before it could say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Ledger, job_key
from glmimg.engine.batch.store import Store
from glmimg.errors import BadDump, BadImage, OutputError
from glmimg.image_io import read_provenance
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import parse_dump


@dataclass
class Survey:
    """The jobs of a batch by what they still need. All but `done` are in the order of drawing.

    done:    whole, recorded
    found:   whole, but their process died before it recorded them
    paint:   their dump is there
    write:   nothing is there
    alone:   names of those among them a process died on once; drawn last, one at a time
    suspect: a process died on them twice or more; drawn after all others, in a process of their own
    """

    done: list[BatchJob] = field(default_factory=list)
    found: list[BatchJob] = field(default_factory=list)
    paint: list[BatchJob] = field(default_factory=list)
    write: list[BatchJob] = field(default_factory=list)
    alone: set[str] = field(default_factory=set)
    suspect: list[BatchJob] = field(default_factory=list)

    @property
    def to_do(self) -> int:
        return len(self.paint) + len(self.write) + len(self.suspect)


SUSPECT_DEATHS = 2
"""One death may be anybody's kill -9; the second on the same job speaks against the job."""


def survey(jobs: list[BatchJob], store: Store, ledger: Ledger, *, force: bool = False) -> Survey:
    """Sort the jobs by what is there.

    force:  files of another job under a name are to be overwritten
    raises: OutputError (exit 2) naming such files otherwise
    """
    found, conflicts = Survey(), []
    sizes, deaths = store.sizes(), store.deaths()
    for job in jobs:
        if ledger.is_done(job) and _same_sizes(ledger.entries[job.name].sizes, job, sizes):
            found.done.append(job)
            continue
        try:
            state = _state(job, store, ledger, sizes)
        except OutputError as conflict:
            if not force:
                conflicts.append(conflict)
                continue
            state = "write"
        if state == "found":
            found.found.append(job)
        elif deaths.get(job.name, 0) >= SUSPECT_DEATHS:
            found.suspect.append(job)
        else:
            (found.paint if state == "paint" else found.write).append(job)
            if job.name in deaths:
                found.alone.add(job.name)
    if conflicts:
        listed = "".join(f"\n  {conflict.message}" for conflict in conflicts)
        raise OutputError(
            f"{len(conflicts)} jobs would overwrite files of others:{listed}",
            "Choose another folder or other names, or overwrite them with --force.",
        )
    found.paint.sort(key=lambda job: job.name in found.alone)
    return found


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


def _same_sizes(recorded: dict[str, int], job: BatchJob, sizes: dict[str, int]) -> bool:
    return recorded.get("picture") == sizes.get(job.picture) and recorded.get("tokens") == sizes.get(job.dump)


def _state(job: BatchJob, store: Store, ledger: Ledger, sizes: dict[str, int]) -> str:
    """`write`, `paint` or `found`. Raises OutputError for files of another job."""
    has_dump, has_picture = job.dump in sizes, job.picture in sizes
    if has_dump:
        try:
            read_own_dump(job, store, ledger)
        except BadDump:
            has_dump = False
    if not has_picture:
        return "paint" if has_dump else "write"
    if _is_own_picture(job, store, ledger):
        return "found" if has_dump else "write"
    entry = ledger.entries.get(job.name)
    if not has_dump and (entry is None or entry.key != job_key(ledger.model, job.job)):
        raise OutputError(f"{store.place(job.picture)} exists and was not made by this batch")
    return "paint" if has_dump else "write"


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
