"""What image clients send - JSON or a form, numbers as text, pictures under many names - as one plain request."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from glmimg.engine.http.refusal import Refusal, refusal_of
from glmimg.errors import SizeError
from glmimg.grid import nearest_side
from glmimg.job import Size, parse_size
from glmimg.knob import knobs
from glmimg.request import JOB, partial, what_is_wrong

MOST_SOURCES = 16
MOST_FIELDS = 100
NO_KNOBS = {"size", "drop", "mask"}
"""Knobs of a job that a client does not say so: a size has more forms here, and a mask would be a file of ours."""

KNOBS = {each.name for model in JOB for each in knobs(model)} - NO_KNOBS
PICTURES = re.compile(r"images?(\[[0-9]*\])?")
"""Names under which clients send source pictures."""

FORMATS = {"png": "PNG", "jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP"}


class Asked(BaseModel):
    """What a client wants of pictures, beside the knobs of a job. What else it says changes nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: Annotated[str, Field(min_length=1)]
    model: str = ""
    n: Annotated[int, Field(ge=1)] = 1
    size: str = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "jpg", "webp"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    share_batch: bool = False

    @property
    def form(self) -> str:
        """The format as Pillow calls it."""
        return FORMATS[self.output_format]

    def wanted_size(self) -> Size | None:
        """The nearest size to the one asked for that has a grid; None leaves it to the model or the first source.

        raises: Refusal (400) for what is no size
        """
        text = self.size.strip().lower()
        if text in ("", "auto"):
            return None
        try:
            sides = re.fullmatch(r"([0-9]{1,6})\s*[x×*]\s*([0-9]{1,6})", text)
            return Size(*(nearest_side(int(side)) for side in sides.groups()[::-1])) if sides else parse_size(text)
        except SizeError as error:
            raise refusal_of(error, "size") from error


async def read_fields(request: Request) -> tuple[dict[str, Any], list[bytes]]:
    """The fields of a request's body, and its source pictures in their order; what is null or empty is not there.

    raises: Refusal (400) for a body that is neither JSON nor a form
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        async with request.form(max_files=MOST_SOURCES + 1, max_fields=MOST_FIELDS) as form:
            items = [(name, await _value(value)) for name, value in form.multi_items()]
        if kind != "multipart/form-data" and any(name.lstrip().startswith("{") for name, _ in items):
            raise Refusal(400, "the body looks like JSON, but is sent as a form; send content-type: application/json")
        texts = {name: value for name, value in items if value not in ("", "null", "undefined")}
    else:
        texts = _parse(await request.body())
        items = [(name, each) for name, value in texts.items() for each in _listed(value)]
    sources = [_picture(value) for name, value in items if PICTURES.fullmatch(name) and value not in (None, "", "null")]
    if texts.get("mask") is not None:
        raise Refusal(400, "GLM-Image reads no mask; say in the prompt what is to change", "mask")
    fields = {name: value for name, value in texts.items() if not PICTURES.fullmatch(name) and value is not None}
    return fields, sources


def read_asked(fields: Mapping[str, Any], most: int) -> Asked:
    """What is asked for, checked. most: pictures at once. Raises Refusal (400) that names the field."""
    asked: Asked = _checked(Asked, fields)
    if asked.n > most:
        raise Refusal(400, f"n is {asked.n}, and at most {most} pictures are drawn for one request", "n")
    return asked


def read_knobs(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a job among the fields, by name. Raises Refusal (400) that names the field."""
    given = {name: fields[name] for name in KNOBS & fields.keys()}
    if str(given.get("seed")) == "-1":  # as other programs of this kind have it
        del given["seed"]
    return _checked(partial(*JOB), given).given()  # type: ignore[no-any-return]


def _checked(model: type[BaseModel], fields: Mapping[str, Any]) -> Any:
    try:
        return model.model_validate(dict(fields), strict=False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = str(problem["loc"][0]) if problem["loc"] else None
        raise Refusal(400, f"{param}: {what_is_wrong(problem)}", param) from error


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the body is neither JSON nor a form") from error
    if not isinstance(document, dict):
        raise Refusal(400, "the body is JSON, but no object")
    return document


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


async def _value(value: UploadFile | str) -> bytes | str:
    return await value.read() if isinstance(value, UploadFile) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _picture(value: Any) -> bytes:
    """The bytes of a source picture: an upload, a data URL, base64, or an object that holds one of these."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        value = value.get("image_url") or value.get("b64_json") or value.get("url")
        value = value.get("url") if isinstance(value, dict) else value
    if not isinstance(value, str):
        raise Refusal(400, "a source picture is neither an upload nor a data URL nor base64", "image")
    if value[:8].lower().startswith(("http:", "https:", "file:")):
        raise Refusal(400, "source pictures are not fetched from addresses; send their bytes", "image")
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, "a source picture is no base64", "image") from error
