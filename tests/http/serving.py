"""A server in this process, on a port of its own, and what tests ask it with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from glmimg.choice import ModelChoice
from glmimg.cli.serve import listen
from glmimg.engine.http.opening import opened_server
from glmimg.engine.http.settings import Serving
from glmimg.engine.stages import CheckpointStages
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from tests.batch.stubs import StubStages, stub_checkpoint

PATIENCE_SECONDS = 120.0
"""httpx alone waits five, which a busy machine takes for a picture."""


def get(url: str, **more: Any) -> httpx.Response:
    return httpx.get(url, timeout=PATIENCE_SECONDS, **more)


def post(url: str, **more: Any) -> httpx.Response:
    return httpx.post(url, timeout=PATIENCE_SECONDS, **more)


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """The address of an application while it is served."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def serve_model(model: Path | str, **settings: Any) -> Iterator[str]:
    """A checkpoint, served."""
    choice = ModelChoice(model=str(model))
    checkpoint = resolve(choice.model, choice.revision)
    stages = CheckpointStages(checkpoint, choice, SourceShelf())
    with opened_server(stages, checkpoint, Serving(**settings)) as app, serve(app) as address:
        yield address


class StubServed(StubStages):
    """Stubs as a server meets stages."""

    is_exact = True
    shelf = None


@contextmanager
def serve_stubs(
    folder: Path | None,
    *,
    seconds: float = 0.0,
    key: str | None = None,
    report: Any = lambda error: None,
    **settings: Any,
) -> Iterator[str]:
    """Stages without weights, served; see `StubStages` for what prompts do. Without a folder for the demo's jobs."""
    stages: Any = StubServed(seconds=seconds)
    checkpoint = resolve("demo", None) if folder is None else stub_checkpoint(folder)
    with (
        opened_server(stages, checkpoint, Serving(**settings), key, report=report) as app,
        serve(app) as address,
    ):
        yield address
