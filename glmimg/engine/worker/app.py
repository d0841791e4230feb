"""What a worker answers over its socket: a greeting, units of work, and the request to leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from glmimg import __version__
from glmimg.engine.dispatcher import Client, Dispatcher, News
from glmimg.engine.worker.messages import pack, pack_error
from glmimg.engine.worker.units import Left, Message, Unit, parse_unit
from glmimg.errors import GlmimgError
from glmimg.request import problem_of


@dataclass
class Worker:
    """A dispatcher's counter at a socket.

    keep:  seconds it stays without work
    leave: ends the process's server
    asked: clients by the names of their units
    """

    dispatcher: Dispatcher
    identity: str
    device: str
    dtype: str
    keep: float
    leave: Callable[[], None]
    asked: dict[str, Client] = field(default_factory=dict)

    def app(self) -> Starlette:
        routes = [
            Route("/hello", self.hello),
            Route("/units", self.units, methods=["POST"]),
            Route("/interrupt", self.interrupt, methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def hello(self, request: Request) -> Response:
        """Who this is. `?keep=SECONDS` also sets how long it stays."""
        if said := request.query_params.get("keep"):
            self.keep = float(said)
        return JSONResponse(self.state())

    def state(self) -> Message:
        import os

        stages = self.dispatcher.stages
        return {
            "version": __version__,
            "identity": self.identity,
            "model": stages.model.id,
            "fingerprint": stages.model.fingerprint,
            "choice": stages.choice.model_dump(mode="json"),
            "device": self.device,
            "dtype": self.dtype,
            "pid": os.getpid(),
            "keep": self.keep,
            "idle": self.dispatcher.idle_seconds,
            "waiting": self.dispatcher.waiting,
            "done": self.dispatcher.done.total(),
        }

    async def units(self, request: Request) -> Response:
        """A unit's events, and then its result or its error, a line each."""
        try:
            unit = parse_unit(await request.body())
        except ValidationError as error:
            problem = GlmimgError(f"the worker does not understand what it is asked: {problem_of(error)}")
            return JSONResponse(pack_error(problem))
        answers = self.answers(unit, request.query_params.get("name", ""))
        return StreamingResponse(answers, media_type="application/x-ndjson")

    async def interrupt(self, request: Request) -> Response:
        """Give a unit up, whose client hears what is left of it."""
        if client := self.asked.get(request.query_params.get("name", "")):
            self.dispatcher.give_up(client)
        return Response(status_code=204)

    async def stop(self, request: Request) -> Response:
        """Leave; `?idle=1` only where there is nothing to do."""
        if not (request.query_params.get("idle") and self.dispatcher.waiting):
            self.leave()
        return Response(status_code=204)

    async def answers(self, unit: Unit, name: str) -> AsyncIterator[str]:
        """Every message about a unit, as lines; whoever stops listening gives the unit up."""
        loop, messages, client = asyncio.get_running_loop(), asyncio.Queue[Message](), Client()

        def tell(news: News | Left) -> None:
            if (message := pack(news)) is not None:
                loop.call_soon_threadsafe(messages.put_nowait, message)

        self.asked[name] = client
        shelf = self.dispatcher.stages.shelf
        assert shelf is not None
        self.dispatcher.submit(unit.ticket(client, shelf, tell))
        try:
            while "event" in (message := await messages.get()):
                yield json.dumps(message) + "\n"
            yield json.dumps(message) + "\n"
        finally:
            self.asked.pop(name, None)
            self.dispatcher.give_up(client)
