"""A client's line to a worker: HTTP over its socket."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from glmimg.choice import ModelChoice
from glmimg.engine.worker.messages import unpack_error, unpack_event
from glmimg.engine.worker.place import clear_dead, end_of_log
from glmimg.engine.worker.units import Message, Unit
from glmimg.errors import WorkerLost
from glmimg.events import Watch
from glmimg.text import excerpt

if TYPE_CHECKING:
    import httpx

ANSWER_SECONDS = 20.0
"""A worker answers a greeting at once, but where its machine has too much to do."""


class Hello(BaseModel):
    """What a worker says of itself.

    identity: what it takes work for, as of `place.identity_of`
    model, fingerprint, choice: which weights it holds, and how they are loaded
    device, dtype: what it computes on and in
    keep, idle: seconds without work after which it leaves, and how many have passed
    waiting, done: units in its queue, and behind it
    """

    model_config = ConfigDict(frozen=True)

    version: str
    identity: str
    model: str
    fingerprint: str
    choice: ModelChoice
    device: str
    dtype: str
    pid: int
    keep: float
    idle: float
    waiting: int
    done: int


@dataclass(frozen=True)
class Link:
    """A worker that answered. Survives pickling: the connection is opened by who uses it."""

    socket: Path
    hello: Hello

    @classmethod
    def to(cls, socket: Path, keep: float | None = None) -> Link | None:
        """The worker at a socket; None if nobody answers there. The socket of a dead one is removed.

        keep: seconds it shall stay without work from now on
        """
        import httpx

        if not socket.exists():
            return None
        try:
            with _client(socket) as client:
                asked = {} if keep is None else {"keep": str(keep)}
                answer = client.get("/hello", params=asked, timeout=ANSWER_SECONDS)
                hello = Hello.model_validate_json(answer.content)
        except httpx.ConnectError:
            clear_dead(socket)
            return None
        except (httpx.HTTPError, ValidationError):
            return None
        return cls(socket, hello)

    def ask(self, unit: Unit, watch: Watch) -> Message:
        """Have a unit done. Raises what it raised there; WorkerLost (exit 1) if the worker died over it."""
        import httpx

        try:
            with self._client.stream("POST", "/units", content=unit.model_dump_json(by_alias=True).encode()) as answer:
                for message in map(json.loads, answer.iter_lines()):
                    if "event" in message:
                        watch(unpack_event(message))
                    elif "error" in message:
                        raise unpack_error(message)
                    else:
                        result: Message = message["result"]
                        return result
        except (httpx.TransportError, ValueError) as error:
            raise self._lost() from error
        raise self._lost()

    def stop(self) -> None:
        """Ask the worker to leave, whatever it works on."""
        import httpx

        try:
            self._client.post("/stop", timeout=ANSWER_SECONDS)
        except httpx.TransportError:
            return  # it has left

    def leave_if_idle(self) -> None:
        """Ask the worker to leave if it has nothing to do."""
        if not self.hello.waiting:
            self.stop()

    @cached_property
    def _client(self) -> httpx.Client:
        return _client(self.socket)

    def __getstate__(self) -> dict[str, Any]:
        return {"socket": self.socket, "hello": self.hello}

    def _lost(self) -> WorkerLost:
        Link.to(self.socket)  # which takes the socket of a dead worker away
        last = end_of_log(self.socket)
        return WorkerLost(f"the worker of {self.hello.model} died" + (f": {excerpt(last)}" if last else ""))


def _client(socket: Path) -> httpx.Client:
    import httpx

    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://worker", timeout=None)
