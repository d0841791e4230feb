"""A picture that a client requests: its tokens, a draft of it and the picture itself are tickets of a dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.engine.dispatcher import Client, Dispatcher, Finished, Ticket
from glmimg.engine.dispatcher import News as Told
from glmimg.engine.engine import Engine
from glmimg.events import PreviewWritten, unwatched
from glmimg.job import Job
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Drafted:
    """The preview of a picture that is still being written."""

    image: Image


News = Told | Drafted


@dataclass(frozen=True)
class PictureRequest:
    """A picture that somebody waits for.

    dump:    its tokens, if they are there
    paints:  whether it ends with a picture, not with the dump
    drafts:  whether its preview is shown
    shares:  whether stage 1 may draw it in one batch with others where that rounds otherwise
    """

    job: Job
    dump: TokenDump | None = None
    paints: bool = True
    drafts: bool = False
    shares: bool = False

    def submit(self, dispatcher: Dispatcher, client: Client, tell: Callable[[News], None]) -> None:
        """Have it done. The last that `tell` hears is `Finished` with a picture, a dump or an exception."""
        work = TokenWork(self.job)

        def paint(dump: TokenDump) -> None:
            def do(engine: Engine) -> object:
                return engine.paint(dump, self.job.painting)

            dispatcher.submit(Ticket(client, do, tell, stage="picture", prepare=prepare))

        def prepare() -> None:
            if self.dump is not None and self.dump.sources and (shelf := dispatcher.stages.shelf) is not None:
                shelf.only(self.dump, Path("the dump"))

        def listen(news: Told) -> None:
            if isinstance(news, PreviewWritten):
                if self.drafts:
                    self._draft(news.dumps[0], dispatcher, client, tell)
            elif not isinstance(news, Finished) or not isinstance(news.result, list):
                tell(news)
            elif self.paints:
                paint(news.result[0])
            else:
                tell(Finished(news.result[0]))

        if self.dump is not None:
            paint(self.dump)
            return
        write = Ticket(client, lambda engine: list(engine.write([work])), listen, works=(work,), shares=self.shares)
        dispatcher.submit(write)

    def _draft(self, dump: TokenDump, dispatcher: Dispatcher, client: Client, tell: Callable[[News], None]) -> None:
        """A preview painted fast, or its tokens as colours where the decoder is not loaded beside stage 1."""
        if not dispatcher.keeps_both:
            from glmimg.tokens.picture import draw_dump

            tell(Drafted(draw_dump(dump)))
            return

        def do(engine: Engine) -> Image:
            return engine.painter().paint(dump.as_target("preview"), self.job.painting.draft, unwatched)

        def listen(news: Told) -> None:
            if isinstance(news, Finished) and not isinstance(news.result, Exception):
                tell(Drafted(news.result))  # type: ignore[arg-type]

        dispatcher.submit(Ticket(client, do, listen, stage="picture", meanwhile=True))
