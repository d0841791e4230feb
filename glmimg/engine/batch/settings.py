"""How a batch is drawn, and where: nothing here changes a pixel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glmimg.knob import Knob, Settings

BATCH = CLUSTER = "The batch"
"""Panel of the help page."""

Form = Literal["png", "jpg", "webp", "avif"]
Workers = Annotated[int, Field(ge=1, le=10_000)]


class Schedule(Settings):
    """What is done with a list of jobs."""

    skip_bad: Annotated[bool, Knob("Skip the lines that no job can be made of.", BATCH, env=False)] = False
    retry_failed: Annotated[bool, Knob("Draw only the jobs that failed before.", BATCH, env=False)] = False
    image_format: Annotated[
        Form, Knob("Format of the pictures: png, jpg, webp or avif.", BATCH, env=False, rare=True)
    ] = "png"
    gallery: Annotated[bool, Knob("Also write index.html, a page of everything in the folder.", BATCH)] = False
    round: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Knob("Paint after this many dumps.", BATCH, metavar="N", default="what memory allows", env=False, rare=True),
    ] = None


class Cluster(Settings):
    """Where a batch is drawn, and by how many workers of each kind.

    address: None starts a Ray on this machine; `auto`, `host:port` or `ray://host:port` name one that runs
    """

    engine: Annotated[
        Literal["local", "ray"], Knob("local: this machine; ray: a Ray cluster.", CLUSTER, metavar="ENGINE", env=False)
    ] = "local"
    address: Annotated[
        str | None,
        Knob(
            "auto, host:port or ray://host:port.", CLUSTER, metavar="ADDRESS", default="one here", env=False, rare=True
        ),
    ] = None
    ar_workers: Annotated[Workers, Knob("Workers of stage 1.", CLUSTER, metavar="N", env=False, rare=True)] = 1
    dit_workers: Annotated[Workers, Knob("Decoders.", CLUSTER, metavar="N", env=False, rare=True)] = 2
