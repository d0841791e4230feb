"""A client's line to a worker: HTTP over its socket."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from glmimg.choice import ModelChoice
from glmimg.engine.worker.messages import unpack_error, unpack_event
from glmimg.engine.worker.place import clear_dead, end_of_log
from glmimg.engine.worker.units import Left, Message, Unit
from glmimg.errors import WorkerLost
from glmimg.events import Event, Noted
from glmimg.text import excerpt

if TYPE_CHECKING:
    import httpx

ANSWER_SECONDS = 20.0
"""A worker answers a greeting at once, but where its machine has too much to do."""

PATIENCE_SECONDS = 5.0
"""After Ctrl-C; then it is said what is waited for."""


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
    def to(cls, socket: Path, keep: float | None = None, patience: float | None = None) -> Link | None:
        """The worker at a socket; None if nobody answers there. The socket of a dead one is removed.

        keep:     seconds it shall stay without work from now on
        patience: seconds to wait for its answer
        """
        import httpx

        if not socket.exists():
            return None
        try:
            with _client(socket) as client:
                asked = {} if keep is None else {"keep": str(keep)}
                answer = client.get("/hello", params=asked, timeout=patience or ANSWER_SECONDS)
                hello = Hello.model_validate_json(answer.content)
        except httpx.ConnectError:
            clear_dead(socket)
            return None
        except (httpx.HTTPError, ValidationError):
            return None
        return cls(socket, hello)

    def ask(self, unit: Unit, hear: Callable[[Event | Left], None]) -> Message:
        """Have a unit done. Raises what it raised there; WorkerLost (exit 1) if the worker died over it.

        A thread listens, so that at Ctrl-C what the unit has so far can still be heard; at the second one it is not.
        """
        messages, name, interrupt = SimpleQueue[Message](), secrets.token_hex(8), None
        content = unit.model_dump_json(by_alias=True).encode()
        threading.Thread(target=self._listen, args=(content, name, messages.put), daemon=True).start()
        message = None
        while message is None or "event" in message:
            try:
                message = messages.get(timeout=PATIENCE_SECONDS if interrupt else None)
                if "event" in message:
                    hear(unpack_event(message))
            except Empty:
                hear(Noted("waiting for the worker to end its step; Ctrl-C again does not wait"))
            except KeyboardInterrupt as error:
                if interrupt is not None:
                    raise
                interrupt = error
                self._post("/interrupt", {"name": name})
        if interrupt is not None:
            raise interrupt
        if "error" in message:
            raise unpack_error(message)
        if "result" not in message:
            raise self._lost()
        result: Message = message["result"]
        return result

    def _listen(self, content: bytes, name: str, tell: Callable[[Message], None]) -> None:
        """Pass on what is answered; an empty message if the line is cut."""
        import httpx

        with (
            suppress(httpx.TransportError, ValueError),
            self._client.stream("POST", "/units", params={"name": name}, content=content) as answer,
        ):
            for line in answer.iter_lines():
                tell(json.loads(line))
        tell({})

    def stop(self, *, only_idle: bool = False) -> None:
        """Ask the worker to leave, whatever it works on or only if it has nothing to do."""
        self._post("/stop", {"idle": "1"} if only_idle else {})

    def _post(self, path: str, params: dict[str, str]) -> None:
        import httpx

        with suppress(httpx.TransportError):  # it has left
            self._client.post(path, params=params, timeout=ANSWER_SECONDS)

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
