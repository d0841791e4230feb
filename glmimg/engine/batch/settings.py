"""Settings of how and where a batch is drawn; none of them changes a pixel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glmimg.knob import Knob, Settings

BATCH = CLUSTER = "The batch"
"""Panel of the help page."""

Form = Literal["png", "jpg", "webp", "avif"]
Workers = Annotated[int, Field(ge=1, le=10_000)]


class Schedule(Settings):
    """How a list of jobs is processed."""

    skip_bad: Annotated[bool, Knob("Skip lines that are not valid jobs.", BATCH, env=False)] = False
    retry_failed: Annotated[bool, Knob("Draw only the jobs that failed before.", BATCH, env=False)] = False
    image_format: Annotated[
        Form, Knob("Format of the pictures: png, jpg, webp or avif.", BATCH, env=False, rare=True)
    ] = "png"
    gallery: Annotated[bool, Knob("Also write index.html, a gallery page of the folder.", BATCH)] = False
    round: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Knob("Paint after every N dumps.", BATCH, metavar="N", default="what memory allows", env=False, rare=True),
    ] = None


class Cluster(Settings):
    """Where a batch is drawn, and by how many workers of each kind.

    address: None starts Ray on this machine; `auto`, `host:port` or `ray://host:port` name a running cluster
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
    ar_workers: Annotated[Workers, Knob("Number of stage 1 workers.", CLUSTER, metavar="N", env=False, rare=True)] = 1
    dit_workers: Annotated[Workers, Knob("Number of decoders.", CLUSTER, metavar="N", env=False, rare=True)] = 2
