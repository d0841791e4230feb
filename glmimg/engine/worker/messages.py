"""What a worker answers, a JSON object a line: events on the way, then a result or an error."""

from __future__ import annotations

import base64
import sys
import traceback
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from glmimg import errors
from glmimg.engine.dispatcher import Finished, News
from glmimg.engine.worker.units import Left, Message, as_json, pack_picture
from glmimg.errors import GlmimgError, OutOfMemory
from glmimg.events import Event, Loading, Noted, PreviewWritten, StepDone, TokensWritten
from glmimg.image_io import Picture
from glmimg.tokens.dump import TokenDump

PASSED_ON = (Loading, TokensWritten, PreviewWritten, StepDone, Noted)
"""Of the events of an engine; the client's own engine counts its jobs and saves their files."""


def pack(news: News | Left) -> Message | None:
    """News of a unit as a message; None for what says nothing to its client."""
    match news:
        case Finished(Exception() as error):
            return pack_error(error)
        case Finished(result):
            return {"result": _pack_result(result)}
        case PreviewWritten(dumps):
            return {"event": "PreviewWritten", "fields": [as_json(dump) for dump in dumps]}
        case Left(number, raw):
            return {"event": "Left", "fields": {"number": number, "raw": base64.b64encode(raw).decode("ascii")}}
    if not isinstance(news, PASSED_ON):
        return None
    kind: Any = type(news)
    return {"event": kind.__name__, "fields": _form(kind).dump_python(news, mode="json")}


def _pack_result(result: Any) -> Message:
    match result:
        case list():
            return {"dumps": [as_json(dump) for dump in result]}
        case TokenDump():
            return {"dump": as_json(result)}
        case Picture():
            return {"picture": pack_picture(result.image)}
    return {"rows": result}


def unpack_event(message: Message) -> Event | Left:
    """The event of a message. Raises ValueError for what is none."""
    if message["event"] == "Left":
        fields = message["fields"]
        return Left(int(fields["number"]), base64.b64decode(fields["raw"], validate=True))
    kind = next((kind for kind in PASSED_ON if kind.__name__ == message["event"]), None)
    if kind is None:
        raise ValueError(f"no event: {message['event']!r}")
    if kind is PreviewWritten:
        return PreviewWritten(tuple(TokenDump.model_validate(dump, strict=False) for dump in message["fields"]))
    event: Event = _form(kind).validate_python(message["fields"])
    return event


@cache
def _form(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def pack_error(error: BaseException) -> Message:
    """An error as a message; one that nobody raised on purpose goes to the log with where it came from."""
    if not isinstance(error, GlmimgError):
        traceback.print_exception(error, file=sys.stderr)
        hint = "This is a bug in glmimg; the worker's log shows where."
        error = GlmimgError(f"{type(error).__name__}: {error}", hint)
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}


def unpack_error(message: Message) -> GlmimgError:
    """The error of a message, of its own class where that is one of ours."""
    kind = getattr(errors, str(message["error"]), GlmimgError)
    is_ours = isinstance(kind, type) and issubclass(kind, GlmimgError)
    error: GlmimgError = GlmimgError.__new__(kind if is_ours else GlmimgError)
    GlmimgError.__init__(error, str(message["message"]), str(message["hint"]))
    error.exit_code = int(message["exit_code"])
    if isinstance(error, OutOfMemory):
        error.is_planned = True  # whatever there was to try, the worker has tried
    return error
