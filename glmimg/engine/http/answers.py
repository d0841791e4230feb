"""What clients are sent: pictures in OpenAI's form, whole or as a stream of events, and the news of all work."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections import OrderedDict
from typing import Any

from glmimg.engine.dispatcher import Finished
from glmimg.engine.http.asking import Asked
from glmimg.engine.http.picture_request import Drafted, News
from glmimg.errors import GlmimgError
from glmimg.events import PreviewWritten, Saved, event_fields
from glmimg.image_io import Picture
from glmimg.metadata import QUALITY

SHOWN_BYTES = 256 << 20
"""Pictures that have an address of their own; the oldest leave when there are more."""


class Shown:
    """Finished pictures by random names, kept in memory for those who asked for an address."""

    def __init__(self, most: int = SHOWN_BYTES) -> None:
        self._most = most
        self._pictures: OrderedDict[str, bytes] = OrderedDict()

    def add(self, data: bytes, ending: str) -> str:
        """Keep a picture. Returns its name."""
        name = f"{secrets.token_urlsafe(16)}.{ending}"
        self._pictures[name] = data
        while len(self._pictures) > 1 and sum(map(len, self._pictures.values())) > self._most:
            self._pictures.popitem(last=False)
        return name

    def get(self, name: str) -> bytes | None:
        """A picture, if it is still here."""
        return self._pictures.get(name)


def encoded(picture: Picture, asked: Asked) -> bytes:
    """A picture as the client wants it, with how it was made inside."""
    quality = QUALITY if asked.output_compression is None else max(asked.output_compression, 1)
    return picture.encode(asked.form, quality=quality)


def as_base64(data: bytes) -> str:
    """As it stands in JSON."""
    return base64.b64encode(data).decode("ascii")


def envelope(picture: Picture, asked: Asked) -> dict[str, Any]:
    """What goes with pictures in every answer."""
    return {
        "created": int(time.time()),
        "output_format": asked.output_format,
        "size": str(picture.provenance.job.scene.size),
        "background": "opaque",
        "quality": "auto",
    }


def sse(kind: str, fields: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(fields)}\n\n"


def as_event(news: News) -> dict[str, Any] | None:
    """News as JSON for whoever watches all work; None for what says nothing to them."""
    match news:
        case Drafted():
            return {"event": "preview"}
        case Finished():
            failed = news.result if isinstance(news.result, GlmimgError) else None
            return {"event": "finished", "error": failed and failed.message}
        case PreviewWritten() | Saved():
            return None
    return event_fields(news)


def metrics(seconds: dict[str, float], done: dict[str, int], waiting: int, requests: dict[tuple[str, int], int]) -> str:
    """Counters in the text form of Prometheus. requests: answered, by path and status"""
    lines = ["# TYPE glmimg_waiting gauge", f"glmimg_waiting {waiting}", "# TYPE glmimg_stage_seconds_total counter"]
    lines += [f'glmimg_stage_seconds_total{{stage="{stage}"}} {seconds[stage]:.3f}' for stage in sorted(seconds)]
    lines += ["# TYPE glmimg_done_total counter"]
    lines += [f'glmimg_done_total{{stage="{stage}"}} {done[stage]}' for stage in sorted(done)]
    lines += ["# TYPE glmimg_requests_total counter"]
    for (path, status), count in sorted(requests.items()):
        lines.append(f'glmimg_requests_total{{path="{path}",status="{status}"}} {count}')
    return "\n".join(lines) + "\n"
