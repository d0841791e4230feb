"""`python -m glmimg.engine.worker ERRAND`: the process of a worker. `start` is who runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn

from glmimg.engine.dispatcher import Dispatcher
from glmimg.engine.stages import CheckpointStages
from glmimg.engine.worker.app import Worker
from glmimg.engine.worker.start import Errand, make_room
from glmimg.errors import GlmimgError
from glmimg.runtime.device import place
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf

LOOK_SECONDS = 0.5
"""Between two looks at whether it is time to leave."""


def main() -> None:
    """Serve until nothing was asked for long enough, or somebody says stop."""
    errand = Errand.model_validate_json(sys.argv[1])
    stages = CheckpointStages(resolve(errand.choice.model, errand.choice.revision), errand.choice, SourceShelf())
    with suppress(GlmimgError):  # what is wrong with the model is told to the job that meets it
        make_room(stages)
    placement = place(errand.choice, "dit")
    dispatcher = Dispatcher(stages, errand.choice.rows)
    server: uvicorn.Server

    def leave() -> None:
        server.should_exit = True

    worker = Worker(dispatcher, errand.identity, placement.device.type, placement.recorded, errand.keep, leave)
    settings = uvicorn.Config(
        worker.app(), uds=str(errand.socket), log_level="warning", access_log=False, lifespan="off",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(settings)
    asyncio.run(serve(server, worker, errand.socket))
    os._exit(0)  # whatever the stages still do is given up


async def serve(server: uvicorn.Server, worker: Worker, socket: Path) -> None:
    """Serve until it is time to leave, or the socket is gone or another's: then nobody can ask any more."""
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    own = _inode(socket)
    while not serving.done():
        await asyncio.sleep(LOOK_SECONDS)
        if worker.dispatcher.idle_seconds > worker.keep or _inode(socket) != own:
            server.should_exit = True
    await serving
    if own is not None and _inode(socket) == own:
        socket.unlink(missing_ok=True)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


if __name__ == "__main__":
    main()
