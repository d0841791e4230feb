"""Which results of a batch exist already, determined before any weights load.

The files count, not only the ledger: a dump or picture that is complete and belongs to the job
counts even if the process died before it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from glmimg.engine.batch.joblist import BatchJob
from glmimg.engine.batch.ledger import Entry, Ledger
from glmimg.engine.batch.remote import Stamp
from glmimg.errors import BadDump, BadImage, OutputError
from glmimg.image_io import Provenance, read_provenance
from glmimg.text import counted
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import parse_dump

Read = TypeVar("Read")
State = Literal["done", "found", "paint", "write"]
"""Of a job: whole and recorded; whole, but not recorded; its dump is there; nothing is there."""


class Found(NamedTuple):
    """Which files of a job exist.

    stale: its useless files, which may be overwritten
    dump:  its own, if it was read and is whole
    """

    state: State
    stale: set[str]
    dump: TokenDump | None = None


SUSPECT_DEATHS = 2
"""One death may be a kill -9; a second one on the same job suggests that the job caused it."""


@dataclass
class Survey:
    """The jobs of a batch, grouped by what they still need. All but `done` are in drawing order.

    paint:   their dump is there, perhaps even a picture that was not recorded
    write:   nothing is there
    alone:   names of those among them a process died on once; drawn last, one at a time
    suspect: a process died on them twice or more; drawn after all others, each in a separate process
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


def survey(jobs: list[BatchJob], ledger: Ledger, *, force: bool = False) -> Survey:
    """Sort the jobs by what exists already.

    force:  files the batch did not make are to be overwritten
    raises: OutputError (exit 2) naming such files otherwise
    """
    found, conflicts = Survey(), []
    there, deaths = ledger.store.stamps(), ledger.store.deaths()
    for job in jobs:
        try:
            state = look(job, ledger, there, deaths.get(job.name, 0)).state
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
            f"{counted(len(conflicts), 'job')} would overwrite files that this batch did not make:"
            + "".join(f"\n  {each}" for each in conflicts),
            "Choose another folder or other names, or overwrite them with --force.",
        )
    found.paint.sort(key=lambda job: job.name in found.alone)
    return found


def look(job: BatchJob, ledger: Ledger, there: dict[str, Stamp], deaths: int) -> Found:
    """Which files of a job exist: the only place that decides what counts as done.

    there:   the files in the store
    deaths:  how often a process died on the job, and may have left unrecorded files
    raises:  OutputError (exit 2) for files the batch did not make
    """
    entry = ledger.entry_of(job)
    if entry is not None and entry.status == "done" and _is_as_recorded(job, entry, ledger, there):
        return Found("done", set())
    dump = _if_sound(read_own_dump, job, ledger) if job.dump in there else None
    picture = _if_sound(read_own_picture, job, ledger) if job.picture in there else None
    useless = {job.dump: dump is None, job.picture: picture is None}
    stale = {name for name, holds in useless.items() if holds and name in there}
    if stale and entry is None and not deaths:
        raise OutputError(f"{ledger.store.place(min(stale))} exists and was not made by this batch")
    if dump is None:  # a picture of other tokens would not be its picture
        return Found("write", stale | ({job.picture} & there.keys()))
    return Found("paint" if picture is None else "found", stale, dump)


def _is_as_recorded(job: BatchJob, entry: Entry, ledger: Ledger, there: dict[str, Stamp]) -> bool:
    """Whether both files have the size and the content that were recorded; older records know the size only.

    A file nobody touched since is not read again.
    """
    found = {what: there[name] for what, name in (("picture", job.picture), ("tokens", job.dump)) if name in there}
    if entry.sizes != {what: stamp.size for what, stamp in found.items()}:
        return False
    untouched = entry.changed == {what: stamp.changed for what, stamp in found.items()}
    return untouched or not entry.sha256 or entry.sha256 == ledger.store.hashes(job)


def _if_sound(read: Callable[[BatchJob, Ledger], Read], job: BatchJob, ledger: Ledger) -> Read | None:
    """What a file holds, if it is whole. Raises OutputError for one of another job."""
    try:
        return read(job, ledger)
    except (BadDump, BadImage):
        return None


def read_own_dump(job: BatchJob, ledger: Ledger) -> TokenDump:
    """The dump of a job.

    raises: BadDump (exit 3) for one that is missing or damaged; OutputError (exit 2) for one of another job or model
    """
    name = ledger.store.place(job.dump)
    try:
        dump = parse_dump(ledger.store.read(job.dump), name)
    except OSError as error:
        raise BadDump(name, f"cannot be read: {error.strerror or error}") from error
    if dump.job(job.job.painting).drawn != job.job.drawn:
        raise OutputError(f"{name} belongs to another job ({dump.prompt[:60]!r}, {dump.width}x{dump.height})")
    if not ledger.model.wrote(dump):
        raise OutputError(f"{name} was written with other weights ({', '.join([dump.model.id, *dump.model.changes])})")
    return dump


def read_own_picture(job: BatchJob, ledger: Ledger) -> Provenance:
    """What a job's picture says of itself.

    raises: BadImage (exit 3) for one that says nothing or is damaged; OutputError (exit 2) for another job's
    """
    name = ledger.store.place(job.picture)
    try:
        data = ledger.store.read(job.picture)
    except OSError as error:
        raise BadImage(name, f"cannot be read: {error.strerror or error}") from error
    made = read_provenance(Path(name), data)
    weights = (made.model.fingerprint, tuple(made.changes))
    if made.job.drawn != job.job.drawn or weights != (ledger.model.fingerprint, ledger.model.changes):
        raise OutputError(f"{name} is a picture of another job or model")
    return made
