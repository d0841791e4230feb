"""From the stages of a model to a server of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from glmimg.engine.engine import Engine
from glmimg.engine.http.app import Server
from glmimg.engine.http.guard import Guard
from glmimg.engine.http.jobs import Jobs
from glmimg.engine.http.settings import Serving
from glmimg.engine.http.studio import Studio
from glmimg.engine.stages import AR_BATCH, CheckpointStages, Scope
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
    scope, shelf = Scope(*largest, with_sources=True), stages.shelf or SourceShelf()
    engine = Engine(stages, scope, keep_both=stages.both_fit(scope))
    studio = Studio(engine, is_exact=stages.is_exact, rows=rows or AR_BATCH, report=report)
    jobs = Jobs(checkpoint, shelf, largest)
    try:
        yield Server(studio, jobs, serving, key).app()
    finally:
        studio.close()
        jobs.close()
