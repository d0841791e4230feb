"""One thread that draws for all clients in turn, and tells each what becomes of its pictures."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glmimg.engine.engine import Engine
from glmimg.engine.stages import AR_BATCH
from glmimg.errors import GlmimgError, Interrupted
from glmimg.events import Event, PreviewWritten, StepDone, TokensWritten, unwatched
from glmimg.image_io import Picture
from glmimg.job import Job
from glmimg.tokens.change import TokenWork
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.painting import as_target

if TYPE_CHECKING:
    from PIL.Image import Image

PROGRESS_SECONDS = 0.1
"""Between two reports of the same work: a thousand tokens need no thousand of them."""


@dataclass(frozen=True)
class Drafted:
    """The preview of a picture that is still being written."""

    image: Image


@dataclass(frozen=True)
class Finished:
    """What came of a ticket: a picture, a dump where only that was wanted, or an error of ours."""

    result: Picture | TokenDump | GlmimgError


News = Event | Drafted | Finished


@dataclass(eq=False)
class Ticket:
    """A picture somebody waits for.

    client:  who waits; clients take turns
    job:     what is drawn
    tell:    hears the news of it, from the studio's thread
    dump:    its tokens, once they are there
    paints:  whether it ends with a picture, not with the dump
    drafts:  whether its preview is shown
    shares:  whether stage 1 may draw it in one batch with others where that rounds otherwise
    """

    client: object
    job: Job
    tell: Callable[[News], None] = unwatched
    dump: TokenDump | None = None
    paints: bool = True
    drafts: bool = False
    shares: bool = False
    given_up: threading.Event = field(default_factory=threading.Event)

    @property
    def work(self) -> TokenWork:
        return TokenWork(self.job)


class GivenUp(Interrupted):
    """Nobody waits for this work any more."""


class Studio:
    """Draws what tickets ask for.

    engine:   is used by the studio's thread alone
    is_exact: whether a batch of stage 1 changes none of its members
    rows:     tickets that stage 1 draws at once
    report:   is told of errors that nobody raised on purpose
    """

    def __init__(
        self,
        engine: Engine,
        *,
        is_exact: bool,
        rows: int = AR_BATCH,
        report: Callable[[BaseException], None] = unwatched,
    ) -> None:
        self.engine, self.is_exact, self.rows, self._report = engine, is_exact, rows, report
        self.seconds, self.done = defaultdict[str, float](float), Counter[str]()
        self._waiting: OrderedDict[object, deque[Ticket]] = OrderedDict()
        self._at_work: Sequence[Ticket] = ()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="studio", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Tickets that are not finished."""
        with self._changed:
            return sum(map(len, self._waiting.values())) + len(self._at_work)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Put tickets behind the others of their clients."""
        with self._changed:
            for ticket in tickets:
                self._waiting.setdefault(ticket.client, deque()).append(ticket)
            self._changed.notify()

    def give_up(self, tickets: Sequence[Ticket]) -> None:
        """Leave tickets undone; work that nobody waits for ends at its next token or step."""
        with self._changed:
            for ticket in tickets:
                ticket.given_up.set()
                queue = self._waiting.get(ticket.client, deque())
                if ticket in queue:
                    queue.remove(ticket)
                if not queue:
                    self._waiting.pop(ticket.client, None)

    def close(self) -> None:
        """Give up everything and free the weights."""
        with self._changed:
            self._is_closing = True
            for ticket in self._at_work:
                ticket.given_up.set()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._do(batch)
            with self._changed:
                self._at_work = ()
        self.engine.close()

    def _take(self) -> Sequence[Ticket]:
        """The next picture to paint, or the next tokens to write with all that go together; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if self._is_closing:
                return ()
            written = None if self.engine.keep_both else self._next(_is_written)
            first = written or self._next(lambda ticket: True)
            assert first is not None
            batch = [first]
            while first.dump is None and len(batch) < self.rows:
                if (other := self._next(lambda ticket: self._go_together(first, ticket))) is None:
                    break
                batch.append(other)
            self._at_work = batch
            return self._at_work

    def _next(self, suits: Callable[[Ticket], bool]) -> Ticket | None:
        """The first ticket that suits, by turns of the clients; its client is the last one then."""
        for client, queue in self._waiting.items():
            if (ticket := next(filter(suits, queue), None)) is not None:
                queue.remove(ticket)
                self._waiting.move_to_end(client)
                if not queue:
                    del self._waiting[client]
                return ticket
        return None

    def _go_together(self, one: Ticket, other: Ticket) -> bool:
        shared = self.is_exact or (one.shares and other.shares)
        return shared and other.dump is None and one.work.kind == other.work.kind

    def _do(self, tickets: Sequence[Ticket]) -> None:
        """One batch of stage 1, or one picture of stage 2. A failure of one is not to be the others'."""
        stage = "tokens" if tickets[0].dump is None else "picture"
        started, self.engine.watch = time.perf_counter(), self._watch(tickets)
        try:
            if stage == "tokens":
                self._write(tickets)
            else:
                self._paint(tickets[0])
        except GivenUp:
            pass
        except Exception as error:
            if len(tickets) > 1:
                for ticket in tickets:
                    self._do([ticket])
                return
            tickets[0].tell(Finished(self._named(error)))
        self.seconds[stage] += time.perf_counter() - started

    def _write(self, tickets: Sequence[Ticket]) -> None:
        dumps = list(self.engine.write([ticket.work for ticket in tickets]))
        for ticket, dump in zip(tickets, dumps, strict=True):
            ticket.dump = dump
            self.done["tokens"] += 1
            if not ticket.paints:
                ticket.tell(Finished(dump))
        with self._changed:
            for ticket in tickets:
                if ticket.paints and not ticket.given_up.is_set():
                    queue = self._waiting.setdefault(ticket.client, deque())
                    queue.insert(sum(map(_is_written, queue)), ticket)  # behind what was written before

    def _paint(self, ticket: Ticket) -> None:
        assert ticket.dump is not None
        picture = self.engine.paint(ticket.dump, ticket.job.painting)
        self.done["picture"] += 1
        ticket.tell(Finished(picture))

    def _named(self, error: Exception) -> GlmimgError:
        if isinstance(error, GlmimgError):
            return error
        self._report(error)
        return GlmimgError("something went wrong here", "The server's own output says what.")

    def _watch(self, tickets: Sequence[Ticket]) -> Callable[[Event], None]:
        last = 0.0

        def watch(event: Event) -> None:
            nonlocal last
            if all(ticket.given_up.is_set() for ticket in tickets):
                raise GivenUp("nobody waits for it any more")
            if isinstance(event, PreviewWritten):
                self._show(event, tickets)
            elif isinstance(event, TokensWritten | StepDone) and time.monotonic() - last < PROGRESS_SECONDS:
                return
            else:
                last = time.monotonic()
                for ticket in tickets:
                    ticket.tell(event)

        return watch

    def _show(self, event: PreviewWritten, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            scene, seed = ticket.job.scene, ticket.job.sampling.seed
            drawn = (dump for dump in event.dumps if (dump.scene, dump.seed) == (scene, seed))
            if ticket.drafts and (dump := next(drawn, None)) is not None:
                ticket.tell(Drafted(self._draft(dump, ticket)))

    def _draft(self, dump: TokenDump, ticket: Ticket) -> Image:
        """A preview painted fast, or its tokens as colours where the decoder is not loaded beside stage 1."""
        if self.engine.keep_both:
            return self.engine.painter().paint(as_target(dump, "preview"), ticket.job.painting.draft, unwatched)
        from glmimg.tokens.picture import draw_dump

        return draw_dump(dump)


def _is_written(ticket: Ticket) -> bool:
    """Where one stage is loaded at a time, what is written is painted before more is written."""
    return ticket.dump is not None
