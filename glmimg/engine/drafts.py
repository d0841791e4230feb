"""Drafts painted while the target is still being written: a separate thread paints each preview as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.engine.orders import Desk, Order, Painted
from glmimg.events import Event, PreviewWritten, unwatched
from glmimg.image_io import Picture
from glmimg.job import Job
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Draft:
    """A job whose preview is painted meanwhile, and where to; None keeps it off the disk."""

    job: Job
    path: Path | None

    def shows(self, dump: TokenDump) -> bool:
        """Whether a dump holds this job's preview."""
        return self.job.stage_one == (dump.scene, dump.drawn_with)


def draw_with_drafts(
    desk: Desk, orders: Sequence[Order], drafts: Sequence[Draft], show: Callable[[Image], None] | None = None
) -> Iterator[Painted]:
    """Like `Desk.draw`, with every draft on disk before the first picture; raises the error of a failed draft.

    The desk's engine holds both stages: the decoder paints drafts while stage 1 writes.

    show: gets each draft, in a thread of its own; who watches the engine then hears nothing of previews
    """
    engine, works = desk.engine, list[Future[None]]()
    watch = engine.watch
    engine.stages.check("ar", "dit")
    desk.files.take(draft.path for draft in drafts if draft.path)
    painter = engine.painter()

    def paint(dump: TokenDump, draft: Draft) -> None:
        painting = draft.job.painting.draft
        image = painter.paint(dump.as_target("preview"), painting, unwatched)
        if draft.path is not None:
            picture = Picture(image, engine.stages.provenance(dump, painting, "preview"), dump)
            desk.save(picture, draft.path)
        if show is not None:
            show(image)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="drafts") as threads:

        def listen(event: Event) -> None:
            if show is None or not isinstance(event, PreviewWritten):
                watch(event)
            if isinstance(event, PreviewWritten):
                for dump in event.dumps:
                    works.extend(threads.submit(paint, dump, draft) for draft in drafts if draft.shows(dump))

        engine.watch = listen
        written = list(desk.write(orders, then_paint=True))
        for work in works:
            work.result()
    engine.watch = watch
    yield from desk.paint(each.to_paint() for each in written)
