"""What a worker answers, a JSON object a line: events on the way, then a result or an error."""

from __future__ import annotations

import sys
import traceback
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from glmimg import errors
from glmimg.engine.worker.units import Message, as_json
from glmimg.errors import GlmimgError, OutOfMemory
from glmimg.events import Event, Loading, Noted, PreviewWritten, StepDone, TokensWritten
from glmimg.tokens.dump import TokenDump

PASSED_ON = (Loading, TokensWritten, PreviewWritten, StepDone, Noted)
"""Of the events of an engine; the client's own engine counts its jobs and saves their files."""


def pack_event(event: Event) -> Message | None:
    """An event as a message; None for one that says nothing to a client."""
    if not isinstance(event, PASSED_ON):
        return None
    if isinstance(event, PreviewWritten):
        return {"event": "PreviewWritten", "fields": [as_json(dump) for dump in event.dumps]}
    kind: Any = type(event)
    return {"event": kind.__name__, "fields": _form(kind).dump_python(event, mode="json")}


def unpack_event(message: Message) -> Event:
    """The event of a message. Raises ValueError for what is none."""
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
