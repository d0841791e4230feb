"""How a batch is reported: a progress line on a terminal, results or events on standard output."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from glmimg.cli.console import Console
from glmimg.engine.batch.progress import BatchEvent, JobMoved, Progress, estimate_batch
from glmimg.engine.batch.survey import Survey
from glmimg.errors import JobsFailed
from glmimg.events import Event, Loading, Noted, StepDone, TokensWritten
from glmimg.text import counted

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from glmimg.engine.batch.folder import Store
    from glmimg.engine.batch.ledger import Ledger, Record
    from glmimg.engine.stages import Needs


class BatchReport:
    """Receives the events of a batch and reports those that are of interest."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = _bar(console)
        self.task = self.bar.add_task("", total=None, now="", rate="", failed="")
        self.failed: list[Record] = []
        self.done = 0

    def shown(self) -> AbstractContextManager[object]:
        """The bar, while there is somebody to see it."""
        return self.bar if self.console.shows_progress else nullcontext()

    def __call__(self, event: BatchEvent | Event) -> None:
        match event:
            case Survey():
                self._planned(event)
            case JobMoved(name, progress, record):
                told = {"name": name} if record is None else record.model_dump(mode="json")
                self._event("tokens" if record is None else "job", told, progress)
                self._show(progress)
            case Noted(text):
                self._event("notice", {"text": text})
                self.console.note(text)
            case Loading(what, done):
                if not done:
                    self._event("loading", {"what": what})
                    self.bar.update(self.task, now=f"loading {what}")
            case TokensWritten(count, _, _):
                self.bar.update(self.task, now=f"tokens {count}/{event.total}")
            case StepDone(number, total):
                self.bar.update(self.task, now=f"step {number}/{total}")

    def record(self, record: Record, store: Store) -> None:
        """Report a finished job: its picture's path on standard output, or its error on standard error."""
        if record.status == "failed":
            self.failed.append(record)
            self.console.note(f"failed: {record.name}: {record.error}")
            return
        self.done += 1
        if not self.console.json:
            self.console.result(store.place(record.picture or ""), {})

    def end(self, retry: str, store: Store) -> None:
        """Sum up. Raises JobsFailed (exit 1) if any job failed."""
        self._event("end", {"drawn": self.done, "failed": len(self.failed)})
        if self.failed:
            names = ", ".join(record.name for record in self.failed[:3]) + (", ..." if len(self.failed) > 3 else "")
            raise JobsFailed(
                f"{counted(len(self.failed), 'job')} failed ({names}); {store.place('results.jsonl')} says why",
                f"Retry only those: {retry}",
            )

    def plan(self, work: Survey, ledger: Ledger, needs: Needs) -> None:
        """Show what would be done, how long it takes and what it needs (`--dry-run`)."""
        estimate = estimate_batch(work, ledger, needs.seconds)
        recorded = len(work.done)
        fields = {
            "jobs": recorded + work.to_do,
            "done": recorded,
            "tokens": work.to_write,
            "pictures": work.to_do,
            "seconds": round(estimate.seconds),
            "seconds_measured": estimate.measured,
            "memory_bytes": needs.at_once,
            "memory_tokens_bytes": int(needs.tokens),
            "memory_pictures_bytes": int(needs.painter),
            "memory_free_bytes": int(needs.free),
            "both_stages_stay_loaded": needs.both_fit,
            "disk_bytes": estimate.disk_bytes,
            "disk_free_bytes": estimate.disk_free,
        }
        if self.console.json:
            self.console.result("", {"event": "dry-run", **fields})
            return
        source = "as measured in this folder" if estimate.measured else "guessed from this machine's speed"
        stay = "both stages stay loaded" if needs.both_fit else "one stage is loaded at a time"
        free = "" if estimate.disk_free is None else f" of {decimal(estimate.disk_free)} free"
        rows = {
            "jobs": f"{fields['jobs']}, {recorded} of them done",
            "to draw": f"{counted(work.to_write, 'dump')}, {counted(work.to_do, 'picture')}",
            "time": f"about {duration(estimate.seconds)}, {source}",
            "memory": f"about {decimal(needs.at_once)} of {decimal(int(needs.free))} free on {needs.device}; {stay}",
            "": f"{decimal(int(needs.tokens))} for tokens, {decimal(int(needs.painter))} for pictures",
            "disk": f"about {decimal(estimate.disk_bytes)}{free}",
        }
        for name, text in rows.items():
            self.console.result(f"{name:8} {text}", {})
        if not estimate.disk_suffices:
            self.console.note("the disk will be full before the batch is done")

    def _planned(self, work: Survey) -> None:
        done, total = len(work.done), len(work.done) + work.to_do
        counts = {"total": total, "done": done, "to_write": work.to_write}
        self._event("plan", counts | {"to_paint": len(work.paint), "suspect": len(work.suspect)})
        parts = [counted(total, "job")]
        parts += [f"{done} done already"] if done else []
        parts += [f"{len(work.paint)} already have a dump"] if work.paint else []
        parts += [f"{len(work.suspect)} killed an earlier run"] if work.suspect else []
        self.console.note(", ".join(parts))
        self.bar.update(self.task, total=total, completed=done)

    def _event(self, kind: str, fields: dict[str, Any], progress: Progress | None = None) -> None:
        if self.console.json:
            state = {"progress": asdict(progress)} if progress else {}
            self.console.result("", {"event": kind, **fields, **state})

    def _show(self, progress: Progress) -> None:
        rate = progress.pictures_per_hour
        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        self.bar.update(
            self.task,
            completed=progress.done + progress.failed,
            description=f"dumps {progress.dumps}" if progress.stage == "tokens" else "pictures",
            rate=" ".join(filter(None, [f"{rate:.0f}/h" if rate else "", left])),
            failed=f"{progress.failed} failed" if progress.failed else "",
        )


@contextmanager
def stop_on_signals(stop: Callable[[], None], console: Console) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) asks to stop after the work at hand; a second one interrupts it."""
    request = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal request
        if request:
            raise KeyboardInterrupt
        request = True
        stop()
        console.urgent("stopping after the current work; press Ctrl-C again to leave it unfinished")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, the two largest that matter."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours else f"{minutes}m{rest:02}"


def _bar(console: Console) -> Bar:
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn()]
    fields = [TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "failed", "now")]
    return console.bar(SpinnerColumn(), *columns, *fields)
