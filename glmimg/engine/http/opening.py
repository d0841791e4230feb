"""From the stages of a model to a server of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from glmimg.engine.dispatcher import Dispatcher
from glmimg.engine.http.app import Server
from glmimg.engine.http.guard import Guard
from glmimg.engine.http.jobs import Jobs
from glmimg.engine.http.settings import Serving
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.events import unwatched
from glmimg.job import Size
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.sources import SourceShelf

LARGEST = 2
"""Times the model's own width and height, where nobody says a largest size."""


@contextmanager
def opened_server(
    stages: CheckpointStages,
    checkpoint: Checkpoint,
    serving: Serving = Serving(),
    key: str | None = None,
    rows: int | None = None,
    report: Callable[[BaseException], None] = unwatched,
) -> Iterator[Guard]:
    """An ASGI application that draws with these stages until the context ends; weights load with the first picture.

    key:    clients have to send
    rows:   jobs that stage 1 draws at once
    report: is told of errors that nobody raised on purpose
    """
    largest = serving.max_size or Size(*(side * LARGEST for side in checkpoint.default_size))
    dispatcher = Dispatcher(stages, rows, Scope(*largest, sources=(largest,)))
    jobs = Jobs(checkpoint, stages.shelf or SourceShelf(), largest)
    try:
        yield Server(dispatcher, jobs, serving, report, key).app()
    finally:
        dispatcher.close()
        jobs.close()
