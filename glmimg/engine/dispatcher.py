"""One thread that does the work of many clients in turn, jobs of one kind in one batch of stage 1.

A worker and the HTTP server are two counters in front of it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Literal

from glmimg.engine.engine import Engine
from glmimg.engine.scope import Scope
from glmimg.engine.stages import AR_BATCH, CheckpointStages
from glmimg.errors import Interrupted
from glmimg.events import Event, PreviewWritten, StepDone, TokensWritten, unwatched
from glmimg.tokens.change import TokenWork

PROGRESS_SECONDS = 0.1
"""Between two reports of the same work: a thousand tokens need no thousand of them."""


class GivenUp(Interrupted):
    """Nobody waits for this work any more."""


@dataclass(eq=False)
class Client:
    """Somebody who waits for work; clients take turns."""

    has_left: bool = False


@dataclass(frozen=True)
class Finished:
    """What came of a ticket: what its work returned, or the exception it raised."""

    result: object


News = Event | Finished


@dataclass(frozen=True, eq=False)
class Ticket:
    """Work that is done in one go.

    do:        does it
    tell:      hears the news of it, `Finished` last, from the dispatcher's thread
    scope:     the most it asks of the stages, where the dispatcher was not told
    stage:     which of the two it needs
    works:     what `do` writes, if that is all it does; others' works of their kind can be in the same batch
    shares:    whether they may be where a batch rounds otherwise
    meanwhile: whether it is done between two tokens of other work where both stages are loaded, as drafts are
    prepare:   is called before, whoever does it
    """

    client: Client
    do: Callable[[Engine], object]
    tell: Callable[[News], None] = unwatched
    scope: Scope | None = None
    stage: Literal["tokens", "picture"] = "tokens"
    works: tuple[TokenWork, ...] = ()
    shares: bool = False
    meanwhile: bool = False
    prepare: Callable[[], None] = lambda: None


class Dispatcher:
    """Does tickets on the stages of one model.

    rows:  jobs that stage 1 writes at once
    scope: what tickets will ask for at most, as far as that is known
    """

    def __init__(self, stages: CheckpointStages, rows: int | None = None, scope: Scope | None = None) -> None:
        self.stages, self.rows = stages, rows or AR_BATCH
        self.engine = self._engine(scope) if scope else None
        self.seconds, self.done = defaultdict[str, float](float), Counter[str]()
        self._waiting: OrderedDict[Client, deque[Ticket]] = OrderedDict()
        self._at_work: Sequence[Ticket] = ()
        self._changed = threading.Condition(threading.RLock())
        self._is_closing = False
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Tickets that are not finished."""
        with self._changed:
            return sum(map(len, self._waiting.values())) + len(self._at_work)

    @property
    def idle_seconds(self) -> float:
        """Since when there is nothing to do; 0 while there is."""
        return 0.0 if self.waiting else time.monotonic() - self._last

    @property
    def keeps_both(self) -> bool:
        """Whether both stages are loaded at once."""
        return self.engine is not None and self.engine.keep_both

    def submit(self, *tickets: Ticket) -> None:
        """Put tickets behind the others of their clients."""
        with self._changed:
            for ticket in tickets:
                if not ticket.client.has_left:
                    self._waiting.setdefault(ticket.client, deque()).append(ticket)
            self._changed.notify()

    def give_up(self, client: Client) -> None:
        """Leave a client's work undone; what nobody else waits for ends at its next token or step."""
        with self._changed:
            client.has_left = True
            undone = list(self._waiting.pop(client, ()))
            if not all(ticket.client.has_left for ticket in self._at_work):
                undone += [ticket for ticket in self._at_work if ticket.client is client]
        for ticket in undone:
            ticket.tell(Finished(GivenUp("given up")))

    def close(self) -> None:
        """Give up everything and free the weights."""
        with self._changed:
            self._is_closing = True
            for ticket in self._at_work:
                ticket.client.has_left = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._do(batch)
            with self._changed:
                self._at_work, self._last = (), time.monotonic()
        if self.engine is not None:
            self.engine.close()

    def _take(self) -> Sequence[Ticket]:
        """The next ticket, with those that can be written in one batch with it; nothing at the end.

        Where one stage is loaded at a time, what is written is painted before more is.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if self._is_closing:
                return ()
            painted = None if self.keeps_both else self._next(lambda ticket: ticket.stage == "picture")
            first = painted or self._next(lambda ticket: True)
            assert first is not None
            batch = [first]
            while (other := self._next(partial(self._goes_with, batch))) is not None:
                batch.append(other)
            self._at_work = batch
            return batch

    def _next(self, suits: Callable[[Ticket], bool]) -> Ticket | None:
        """The first ticket that suits, by turns of the clients, its pictures first; its client is the last one then."""
        for client, queue in self._waiting.items():
            ordered = sorted(queue, key=lambda ticket: ticket.stage == "tokens")
            if (ticket := next(filter(suits, ordered), None)) is not None:
                queue.remove(ticket)
                self._waiting.move_to_end(client)
                if not queue:
                    del self._waiting[client]
                return ticket
        return None

    def _goes_with(self, batch: Sequence[Ticket], other: Ticket) -> bool:
        first = batch[0]
        if not first.works or not other.works or sum(len(each.works) for each in (*batch, other)) > self.rows:
            return False
        return first.works[0].kind == other.works[0].kind and ((first.shares and other.shares) or self.stages.is_exact)

    def _do(self, tickets: Sequence[Ticket]) -> None:
        """A ticket, or a batch of stage 1. A failure of one is not to be the others'."""
        started, stage = time.perf_counter(), tickets[0].stage
        try:
            engine = self._engine_for(tickets)
            engine.watch = self._watch(tickets)
            if len(tickets) > 1:
                dumps = engine.write([work for ticket in tickets for work in ticket.works])
                results: list[object] = [[next(dumps) for _ in ticket.works] for ticket in tickets]
            else:
                results = [tickets[0].do(engine)]
        except Exception as error:
            if len(tickets) > 1 and not isinstance(error, GivenUp):
                for ticket in tickets:
                    self._do([ticket])
                return
            results = [error] * len(tickets)
        else:
            self.done[stage] += sum(max(1, len(ticket.works)) for ticket in tickets)
        self.seconds[stage] += time.perf_counter() - started
        for ticket, result in zip(tickets, results, strict=True):
            ticket.tell(Finished(result))

    def _engine_for(self, tickets: Sequence[Ticket]) -> Engine:
        """The engine, made anew where a ticket asks for more than any before it."""
        for ticket in tickets:
            ticket.prepare()
        scopes = [ticket.scope for ticket in tickets if ticket.scope is not None]
        if self.engine is not None:
            scopes = [self.engine.scope, *scopes]
        scope = reduce(Scope.joined, scopes)
        if self.engine is None or self.engine.scope != scope:
            if self.engine is not None:
                self.engine.close()
            self.engine = self._engine(scope)
        return self.engine

    def _engine(self, scope: Scope) -> Engine:
        scope = replace(scope, steps=50)
        return Engine(self.stages, scope, keep_both=self.stages.both_fit(scope))

    def _watch(self, tickets: Sequence[Ticket]) -> Callable[[Event], None]:
        last = 0.0

        def watch(event: Event) -> None:
            nonlocal last
            if all(ticket.client.has_left for ticket in tickets):
                raise GivenUp("nobody waits for it any more")
            if tickets[0].stage == "tokens" and self.keeps_both:
                self._do_meanwhile()
            if time.monotonic() - last < PROGRESS_SECONDS and _is_midway(event):
                return
            last = time.monotonic()
            for ticket in tickets:
                if (own := _own(event, ticket)) is not None:
                    ticket.tell(own)

        return watch

    def _do_meanwhile(self) -> None:
        """Paint the drafts that are asked for by now."""
        assert self.engine is not None
        while self._waiting:
            with self._changed:
                draft = self._next(lambda ticket: ticket.meanwhile)
            if draft is None:
                return
            watch, self.engine.watch = self.engine.watch, unwatched
            try:
                draft.prepare()
                result: object = draft.do(self.engine)
            except Exception as error:
                result = error
            self.engine.watch = watch
            draft.tell(Finished(result))


def _is_midway(event: Event) -> bool:
    """Whether more of the same is to come."""
    if isinstance(event, TokensWritten):
        return event.count < event.total
    return isinstance(event, StepDone) and event.number < event.total


def _own(event: Event, ticket: Ticket) -> Event | None:
    """An event as one of the tickets in a batch hears it: of previews, only its own."""
    if not isinstance(event, PreviewWritten):
        return event
    keys = [work.job.stage_one for work in ticket.works]
    dumps = tuple(dump for dump in event.dumps if (dump.scene, dump.drawn_with) in keys)
    return PreviewWritten(dumps) if dumps else None
