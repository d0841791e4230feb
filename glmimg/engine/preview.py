"""Drafts while the target is still being written: a thread of its own paints each preview as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from glmimg.engine.local import LocalEngine, Order, Painted, PaintOrder
from glmimg.events import Event, PreviewWritten, Watch
from glmimg.job import Job
from glmimg.tokens.dump import TokenDump


class PreviewPainter:
    """Listens to stage 1 and paints the previews it announces in the background.

    engine: of the same checkpoint; its decoder lies in memory beside the AR model
    wanted: jobs and where the draft of each goes
    """

    def __init__(self, engine: LocalEngine, wanted: Sequence[tuple[Job, Path]]) -> None:
        self.engine = engine
        self.wanted = list(wanted)
        self.drafts: list[Future[None]] = []

    def draw(
        self, orders: Sequence[Order], make_engine: Callable[[Watch], LocalEngine], watch: Watch
    ) -> Iterator[Painted]:
        """As `LocalEngine.draw`, with every draft on disk before the first picture; raises what went wrong with one."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="drafts") as threads:

            def listen(event: Event) -> None:
                watch(event)
                if isinstance(event, PreviewWritten):
                    self.drafts.append(threads.submit(self._paint, list(event.dumps)))

            engine = make_engine(listen)
            engine.checkpoint.check("ar", "dit")
            written = list(engine.write(orders))
            for draft in self.drafts:
                draft.result()
        yield from engine.paint_written(written)

    def _paint(self, dumps: list[TokenDump]) -> None:
        for _ in self.engine.paint([self._order(dump) for dump in dumps]):
            pass

    def _order(self, dump: TokenDump) -> PaintOrder:
        """Who asked for this draft: the first job left with its prompt, size and seed."""
        for place, (job, path) in enumerate(self.wanted):
            if (job.prompt, job.size, job.seed) == (dump.prompt, f"{dump.width}x{dump.height}", dump.seed):
                del self.wanted[place]
                return PaintOrder(dump, job.drafting, path, str(path), "preview")
        raise LookupError(f"nobody asked for a draft of seed {dump.seed}")
