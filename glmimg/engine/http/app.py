"""The routes of the server: pictures as OpenAI's clients ask for them, glmimg's own two stages, and how it is doing."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from glmimg import __version__
from glmimg.engine.dispatcher import Client, Dispatcher, Finished, GivenUp
from glmimg.engine.http.answers import Shown, as_base64, as_event, encoded, envelope, metrics, sse
from glmimg.engine.http.asking import Asked, read_asked, read_fields
from glmimg.engine.http.guard import Guard
from glmimg.engine.http.jobs import Jobs
from glmimg.engine.http.picture_request import Drafted, News, PictureRequest
from glmimg.engine.http.refusal import Refusal, answer_error, refusal_of
from glmimg.engine.http.settings import Serving
from glmimg.errors import GlmimgError
from glmimg.events import unwatched
from glmimg.image_io import Picture
from glmimg.metadata import encode
from glmimg.tokens.dump import TokenDump

HERE = Path(__file__).parent
LOOK_SECONDS = 0.5
"""Between two looks at whether a client is still there."""

QUIET_SECONDS = 15.0

LISTENER_EVENTS = 1000
"""That may wait for a slow listener; it misses what comes then."""

PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data: 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
}


@dataclass
class Server:
    """A dispatcher's counter: takes requests, follows their pictures, answers.

    report: is told of errors that nobody raised on purpose
    """

    dispatcher: Dispatcher
    jobs: Jobs
    serving: Serving
    report: Callable[[BaseException], None] = unwatched
    key: str | None = None
    shown: Shown = field(default_factory=Shown)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    listeners: set[asyncio.Queue[dict[str, Any]]] = field(default_factory=set)

    def app(self) -> Guard:
        """As an ASGI application."""
        routes = [
            Route("/", self.page),
            Route("/page.js", self.page),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/events", self.events),
            Route("/images/{name}", self.image),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.models),
            Route("/v1/images/generations", self.counted(self.generate), methods=["POST"]),
            Route("/v1/images/edits", self.counted(self.generate), methods=["POST"]),
            Route("/tokens", self.counted(self.tokens), methods=["POST"]),
            Route("/decode", self.counted(self.decode), methods=["POST"]),
        ]
        kinds = (404, 405, 400, Refusal, GlmimgError, Exception)
        app = Starlette(routes=routes, exception_handlers=dict.fromkeys(kinds, answer_error))
        return Guard(app, self.key, self.serving.body_bytes)

    def counted(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """A route whose answers are counted; what it refuses is an answer too."""

        async def count(request: Request) -> Response:
            try:
                response = await answer(request)
            except ClientDisconnect:
                response = Response(status_code=499)
            except (Refusal, GlmimgError) as error:
                response = await answer_error(request, error)
            self.requests[request.url.path, response.status_code] += 1
            return response

        return count

    async def generate(self, request: Request) -> Response:
        """Pictures from a prompt, or from source pictures and a prompt."""
        fields, pictures = await read_fields(request)
        asked = read_asked(fields, self.serving.max_pictures)
        is_edit = request.url.path.endswith("/edits")
        if is_edit and not pictures:
            raise Refusal(400, "there is no source picture", "image")
        sources = await run_in_threadpool(self.jobs.take, pictures)
        jobs = await run_in_threadpool(self.jobs.of, asked, fields, sources)
        drafts = asked.stream and asked.partial_images > 0
        requests = [PictureRequest(job, drafts=drafts, shares=asked.share_batch) for job in jobs]
        self._check_room(requests)
        if asked.stream:
            kind = "image_edit" if is_edit else "image_generation"
            return StreamingResponse(self._streamed(request, requests, asked, kind), media_type="text/event-stream")
        drawn = [result for result in await self._results(request, requests) if isinstance(result, Picture)]
        data = [await self._datum(request, picture, asked) for picture in drawn]
        return JSONResponse({**envelope(drawn[0], asked), "data": data})

    async def tokens(self, request: Request) -> Response:
        """Stage 1 alone: a token dump."""
        fields, pictures = await read_fields(request)
        asked = read_asked(fields, 1)
        sources = await run_in_threadpool(self.jobs.take, pictures)
        (job,) = await run_in_threadpool(self.jobs.of, asked, fields, sources)
        (dump,) = await self._results(request, [PictureRequest(job, paints=False, shares=asked.share_batch)])
        assert isinstance(dump, TokenDump)
        return Response(dump.to_json(), media_type="application/json")

    async def decode(self, request: Request) -> Response:
        """Stage 2 alone: a picture of the dump that is sent, as the body or in a form with its sources."""
        fields, pictures = dict[str, Any](request.query_params), list[bytes]()
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            more, pictures = await read_fields(request)
            fields |= more
            if (sent := fields.pop("dump", None)) is None:
                raise Refusal(400, "there is no dump in the form", "dump")
            raw = sent if isinstance(sent, bytes) else sent.encode(errors="replace")
        else:
            raw = await request.body()
        asked = read_asked({**fields, "prompt": "a dump"}, 1)
        dump, job = await run_in_threadpool(self.jobs.painting_of, raw, fields, pictures)
        (picture,) = await self._results(request, [PictureRequest(job, dump)])
        assert isinstance(picture, Picture)
        return Response(await run_in_threadpool(encoded, picture, asked), media_type=f"image/{asked.form.lower()}")

    async def image(self, request: Request) -> Response:
        """A picture whose address somebody was given."""
        name = request.path_params["name"]
        if (data := self.shown.get(name)) is None:
            raise Refusal(404, "there is no such picture here, or no longer")
        return Response(data, media_type=f"image/{name.rpartition('.')[2]}", headers={"cache-control": "private"})

    async def models(self, request: Request) -> Response:
        """The one model."""
        model = {"id": self.jobs.checkpoint.id, "object": "model", "created": 0, "owned_by": "glmimg"}
        if (name := request.path_params.get("name")) is None:
            return JSONResponse({"object": "list", "data": [model]})
        if name != model["id"]:
            raise Refusal(404, "there is no such model here", "model", "model_not_found")
        return JSONResponse(model)

    async def health(self, request: Request) -> Response:
        """That it is there, and how many pictures wait."""
        return JSONResponse({"status": "ok", "glmimg": __version__, "waiting": self.dispatcher.waiting})

    async def metrics(self, request: Request) -> Response:
        """Counters for Prometheus."""
        of = self.dispatcher
        text = metrics(dict(of.seconds), dict(of.done), of.waiting, dict(self.requests))
        return Response(text, media_type="text/plain; version=0.0.4")

    async def page(self, request: Request) -> Response:
        """The page to try it with, and its script."""
        name = "page.js" if request.url.path == "/page.js" else "page.html"
        return FileResponse(HERE / name, headers=PAGE_HEADERS)

    async def events(self, request: Request) -> Response:
        """The news of all work as server-sent events; `?id=` only those of the request with this X-Request-Id."""
        return StreamingResponse(self._listen(request.query_params.get("id")), media_type="text/event-stream")

    async def _listen(self, only: str | None) -> AsyncIterator[str]:
        queue = asyncio.Queue[dict[str, Any]](LISTENER_EVENTS)
        self.listeners.add(queue)
        try:
            yield ": here are the news\n\n"
            while True:
                try:
                    async with asyncio.timeout(QUIET_SECONDS):
                        event = await queue.get()
                except TimeoutError:
                    yield ": no news\n\n"  # else proxies in between take the line for dead
                    continue
                if only in (None, event["id"]):
                    yield sse(event["event"], event)
        finally:
            self.listeners.discard(queue)

    def _check_room(self, requests: Sequence[PictureRequest]) -> None:
        waiting = self.dispatcher.waiting
        if waiting + len(requests) > self.serving.max_waiting:
            raise Refusal(429, f"{waiting} pictures wait already; try again later", code="busy")

    async def _news(
        self, request: Request, requests: Sequence[PictureRequest]
    ) -> AsyncGenerator[tuple[int, News], None]:
        """Submit requests and yield what is heard of each, by its place, until all are finished.

        raises: Refusal (504) once it takes too long, ClientDisconnect; what is unfinished is given up
        """
        self._check_room(requests)
        loop, heard, left = asyncio.get_running_loop(), asyncio.Queue[tuple[int, News]](), set(range(len(requests)))
        client = Client()
        deadline, look = loop.time() + self.serving.max_seconds, loop.time() + LOOK_SECONDS
        name = request.headers.get("x-request-id", "")[:100] or secrets.token_hex(8)
        for number, each in enumerate(requests):
            each.submit(self.dispatcher, client, _teller(loop, heard, number))
        try:
            while left:
                try:
                    async with asyncio.timeout_at(look):
                        number, news = await heard.get()
                except TimeoutError:
                    look = loop.time() + LOOK_SECONDS
                    await self._look(request, deadline - loop.time())
                    continue
                news = self._named(news)
                self._publish(name, number, news)
                if isinstance(news, Finished):
                    left.remove(number)
                yield number, news
        finally:
            self.dispatcher.give_up(client)
            for number in left:
                self._publish(name, number, Finished(GivenUp("given up")))

    def _named(self, news: News) -> News:
        """News for clients: an error that nobody raised on purpose says nothing to them."""
        if not isinstance(news, Finished) or not isinstance(news.result, Exception):
            return news
        if isinstance(news.result, GlmimgError):
            return news
        self.report(news.result)
        return Finished(GlmimgError("something went wrong here", "The server's own output says what."))

    async def _look(self, request: Request, seconds_left: float) -> None:
        """Whether there is still somebody to draw for, and time. Raises ClientDisconnect, Refusal (504)."""
        if await request.is_disconnected():
            raise ClientDisconnect
        if seconds_left < 0:
            raise Refusal(504, f"it took longer than {self.serving.max_seconds:g} seconds", code="timeout")

    def _publish(self, name: str, number: int, news: News) -> None:
        if self.listeners and (event := as_event(news)) is not None:
            for queue in self.listeners:
                with suppress(asyncio.QueueFull):
                    queue.put_nowait({"id": name, "picture": number + 1, **event})

    async def _results(self, request: Request, requests: Sequence[PictureRequest]) -> list[object]:
        """What came of every request, in their order. Raises the error of the first that failed."""
        results: dict[int, object] = {}
        async with aclosing(self._news(request, requests)) as news:
            async for number, each in news:
                if isinstance(each, Finished):
                    if isinstance(each.result, GlmimgError):
                        raise each.result
                    results[number] = each.result
        return [results[number] for number in range(len(requests))]

    async def _streamed(
        self, request: Request, requests: Sequence[PictureRequest], asked: Asked, kind: str
    ) -> AsyncIterator[str]:
        """Previews and pictures as events, each as it is ready."""
        try:
            async with aclosing(self._news(request, requests)) as news:
                async for _, each in news:
                    if isinstance(each, Drafted):
                        draft = as_base64(await run_in_threadpool(encode, each.image, "PNG", {}))
                        yield sse(f"{kind}.partial_image", _partial(kind, draft))
                    elif isinstance(each, Finished) and isinstance(each.result, GlmimgError):
                        yield sse("error", refusal_of(each.result).record)
                    elif isinstance(each, Finished) and isinstance(each.result, Picture):
                        fields = {**envelope(each.result, asked), **await self._datum(request, each.result, asked)}
                        fields["created_at"] = fields.pop("created")
                        yield sse(f"{kind}.completed", {"type": f"{kind}.completed", **fields})
        except Refusal as refusal:
            yield sse("error", refusal.record)

    async def _datum(self, request: Request, picture: Picture, asked: Asked) -> dict[str, Any]:
        """A picture in an answer, with the seed that draws it again."""
        data = await run_in_threadpool(encoded, picture, asked)
        seed = picture.provenance.job.sampling.seed
        if asked.response_format == "b64_json":
            return {"b64_json": as_base64(data), "seed": seed}
        name = self.shown.add(data, asked.form.lower())
        return {"url": str(request.url_for("image", name=name)), "seed": seed}


def _teller(
    loop: asyncio.AbstractEventLoop, heard: asyncio.Queue[tuple[int, News]], number: int
) -> Callable[[News], None]:
    def tell(news: News) -> None:
        with suppress(RuntimeError):  # the server is leaving, and nobody listens
            loop.call_soon_threadsafe(heard.put_nowait, (number, news))

    return tell


def _partial(kind: str, draft: str) -> dict[str, Any]:
    return {
        "type": f"{kind}.partial_image",
        "partial_image_index": 0,
        "b64_json": draft,
        "output_format": "png",
    }
