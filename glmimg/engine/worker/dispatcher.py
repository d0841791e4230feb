"""One thread that works off the units of all clients in the order they came, stage 1 of several in one batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from glmimg.engine.engine import Engine
from glmimg.engine.stages import AR_BATCH, CheckpointStages
from glmimg.engine.worker.messages import pack_error, pack_event
from glmimg.engine.worker.units import Message, Unit, Write
from glmimg.errors import Interrupted
from glmimg.events import Event, unwatched


@dataclass(frozen=True, eq=False)
class Ticket:
    """A unit in the queue. tell: is given every message about it, the last one a result or an error"""

    unit: Unit
    tell: Callable[[Message], None]
    shares: bool = False
    given_up: threading.Event = field(default_factory=threading.Event)


class GivenUp(Interrupted):
    """Nobody waits for this work any more."""


class Dispatcher:
    """Does units on the stages of one model.

    Jobs of several clients share a batch of stage 1 where that changes none of them: on the CPU in fp32, or where each
    of their tickets says so.
    """

    def __init__(self, stages: CheckpointStages) -> None:
        self.stages = stages
        self.engine: Engine | None = None
        self.done = 0
        self._waiting: deque[Ticket] = deque()
        self._at_work: Sequence[Ticket] = ()
        self._changed = threading.Condition()
        self._is_closing = False
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit, tell: Callable[[Message], None], *, shares: bool = False) -> Ticket:
        """Put a unit at the end of the queue."""
        ticket = Ticket(unit, tell, shares)
        with self._changed:
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def give_up(self, ticket: Ticket) -> None:
        """Leave a unit undone; one at work ends at its next token or step."""
        ticket.given_up.set()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    @property
    def waiting(self) -> int:
        """Units that are not done yet."""
        return len(self._waiting) + len(self._at_work)

    @property
    def idle_seconds(self) -> float:
        """Since when there is nothing to do; 0 while there is."""
        return 0.0 if self.waiting else time.monotonic() - self._last

    def close(self) -> None:
        """End after the unit at work, which is given up, and free the weights."""
        with self._changed:
            self._is_closing = True
            for ticket in self._at_work:
                ticket.given_up.set()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while tickets := self._take():
            self._do(tickets)
            with self._changed:
                self._at_work, self._last = (), time.monotonic()
                self.done += len(tickets)
        if self.engine is not None:
            self.engine.close()

    def _take(self) -> list[Ticket]:
        """The next ticket, with those that can be drawn in one batch with it; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if self._is_closing:
                return []
            first = self._waiting.popleft()
            batch, rows = [first], _rows(first)
            for other in list(self._waiting):
                if rows + _rows(other) <= (self.stages.choice.rows or AR_BATCH) and self._go_together(first, other):
                    self._waiting.remove(other)
                    batch.append(other)
                    rows += _rows(other)
            self._at_work = batch
            return batch

    def _go_together(self, one: Ticket, other: Ticket) -> bool:
        if not isinstance(one.unit, Write) or not isinstance(other.unit, Write) or one.unit.kind != other.unit.kind:
            return False
        return (one.shares and other.shares) or self.stages.is_exact

    def _do(self, tickets: Sequence[Ticket]) -> None:
        try:
            unit = tickets[0].unit
            if len(tickets) > 1:
                first, *others = (cast(Write, ticket.unit) for ticket in tickets)
                unit = first.joined(others)
            result = unit.done_by(self._engine_for(unit, tickets))
        except GivenUp:
            return
        except Exception as error:
            if len(tickets) == 1:
                tickets[0].tell(pack_error(error))
                return
            for ticket in tickets:  # a failure of one is not to be the others'
                self._do([ticket])
            return
        dumps = iter(result.get("dumps", ()))
        for ticket in tickets:
            own = {"dumps": [next(dumps) for _ in ticket.unit.works]} if isinstance(ticket.unit, Write) else result
            ticket.tell({"result": own})

    def _engine_for(self, unit: Unit, tickets: Sequence[Ticket]) -> Engine:
        """The engine, made anew where a unit asks for more than any before it; the tickets hear its events."""
        if self.engine is None or self.engine.scope.joined(unit.scope) != self.engine.scope:
            scope = unit.scope if self.engine is None else self.engine.scope.joined(unit.scope)
            if self.engine is not None:
                self.engine.close()
            self.engine = Engine(self.stages, replace(scope, steps=50), keep_both=self.stages.both_fit(scope))
        for source in unit.sources:
            assert self.stages.shelf is not None
            self.stages.shelf.put(source.prepared())
        self.engine.watch = self._watch(tickets) if tickets else unwatched
        return self.engine

    def _watch(self, tickets: Sequence[Ticket]) -> Callable[[Event], None]:
        def watch(event: Event) -> None:
            if all(ticket.given_up.is_set() for ticket in tickets):
                raise GivenUp("nobody waits for it any more")
            if (message := pack_event(event)) is not None:
                for ticket in tickets:
                    ticket.tell(message)

        return watch


def _rows(ticket: Ticket) -> int:
    return len(ticket.unit.works) if isinstance(ticket.unit, Write) else 1
