"""The lines of a job list: JSON objects, CSV rows or plain prompts, each checked by itself.

Read one line at a time, so that neither a long list nor a wrong file fills the memory.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from glmimg.errors import GlmimgError
from glmimg.request import Partial, job_form, what_is_wrong

MAX_LINE_BYTES = 1 << 20
"""A job is a few hundred bytes; a longer line is a wrong file, and is not read into memory."""

MAX_NAME_BYTES = 200
"""Room is left for endings and for the temporary file's own ending."""

Form = Literal["jsonl", "csv", "text"]
FORMS: dict[str, Form] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".txt": "text"}


@dataclass(frozen=True, slots=True)
class JobLine:
    """One line of a list: what it says of its job, and what is about the line itself.

    given:    knobs of a job by name, and its prompt
    name:    of the two files, without ending; None makes one from the job
    presets: names or paths of presets, over those of the command line
    sources: paths of the pictures an edit starts from
    """

    given: dict[str, Any]
    name: str | None = None
    presets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: dict[str, Any], *, strict: bool = True) -> JobLine:
        """A line from its fields. Raises ValidationError, or UsageError for a size or window that cannot be."""
        given = line_form().model_validate(values, strict=strict).given()
        name, preset, sources = given.pop("name", None), given.pop("preset", ()), given.pop("sources", ())
        return cls(given, name, (preset,) if isinstance(preset, str) else tuple(preset), tuple(sources))


def _file_name(name: str) -> str:
    if reason := name_problem(name):
        raise ValueError(reason)
    return name


@cache
def line_form() -> type[Partial]:
    """What a line may say."""
    name = Annotated[str, Field(min_length=1), AfterValidator(_file_name)]
    return job_form(
        {
            "name": (name | None, None),
            "preset": (str | list[str] | None, None),
            "sources": (list[str] | None, None),
        }
    )


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line no job can be made of."""

    line: int
    reason: str


def read_lines(stream: IO[bytes], source: str) -> Iterator[tuple[int, JobLine | BadLine]]:
    """Each non-empty line with its number, parsed by the form of the list."""
    texts = _texts(stream)
    form: Form | None = FORMS.get(re.search(r"\.[a-z]+$|$", source.lower()).group())  # type: ignore[union-attr]
    for number, text in texts:
        if not isinstance(text, BadLine):
            form = form or _sniff(text)
            if form == "csv":
                yield from _csv_lines(number, text, texts)
                return
            break
        yield number, text
    else:
        return
    yield number, _parse(number, text, form)
    for number, text in texts:
        yield number, text if isinstance(text, BadLine) else _parse(number, text, form)


def _texts(stream: IO[bytes]) -> Iterator[tuple[int, str | BadLine]]:
    """Each non-empty line as text, or why it is none; never holds more than one line."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(MAX_LINE_BYTES)
            yield number, BadLine(number, f"is longer than {MAX_LINE_BYTES // 2**20} MiB")
            continue
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield number, BadLine(number, f"is not UTF-8 text (byte {error.start + 1})")
            continue
        if text.strip():
            yield number, text.rstrip("\r\n")


def _sniff(text: str) -> Form:
    """The form a first line is written in: a JSON object, a CSV header of field names, or a prompt."""
    if text.lstrip().startswith("{"):
        return "jsonl"
    return "csv" if {"prompt"} <= set(_cells(text)) <= set(line_form().model_fields) else "text"


def _parse(number: int, text: str, form: Form | None) -> JobLine | BadLine:
    if form == "text":
        return JobLine({"prompt": text.strip()})
    try:
        values = json.loads(text, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"is not JSON: {error}")
    if not isinstance(values, dict):
        return BadLine(number, "is not a JSON object")
    try:
        return JobLine.of(values)
    except (ValidationError, GlmimgError) as error:
        return BadLine(number, problem_text(error))


def _no_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a field is given twice")
    return values


def _csv_lines(
    number: int, header_text: str, rest: Iterator[tuple[int, str | BadLine]]
) -> Iterator[tuple[int, JobLine | BadLine]]:
    """Rows under a header of field names; an empty cell says nothing. Quoted cells may span lines."""
    header = _cells(header_text)
    unknown = [name for name in header if name not in line_form().model_fields]
    if unknown or len(set(header)) < len(header) or "prompt" not in header:
        reason = f"unknown column {unknown[0]!r}" if unknown else "the header repeats a column or lacks `prompt`"
        yield number, BadLine(number, f"{reason}; there are {', '.join(line_form().model_fields)}")
        return
    position = [number]

    def texts() -> Iterable[str]:
        for line, text in rest:
            position[0] = line
            if isinstance(text, BadLine):
                bad.append(text)
            else:
                yield text + "\n"

    bad: list[BadLine] = []
    rows = csv.reader(texts(), strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield position[0], BadLine(position[0], f"is not CSV: {error}")
            continue
        yield from ((each.line, each) for each in bad)
        bad.clear()
        if row is None:
            return
        yield position[0], _csv_row(position[0], header, row)


def _csv_row(number: int, header: list[str], row: list[str]) -> JobLine | BadLine:
    if len(row) != len(header):
        return BadLine(number, f"has {len(row)} cells, the header has {len(header)}")
    try:
        cells = {key: cell for key, cell in zip(header, row, strict=True) if cell.strip()}
        return JobLine.of(cells, strict=False)
    except (ValidationError, GlmimgError) as error:
        return BadLine(number, problem_text(error))


def _cells(text: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text]), [])]
    except csv.Error:
        return []


def name_problem(name: str) -> str:
    """Why a name cannot be that of a file of its own in the output folder; empty if it can."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return "has a control character in it"
    if ".." in name or re.search(r"[/\\:]", name):
        return "must not hold '..', '/', '\\' or ':'"
    if name.startswith(".") or name != name.strip():
        return "must not begin with a dot, nor begin or end with a space"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return ""


def problem_text(error: Exception) -> str:
    """What is wrong with a line, in one sentence."""
    if isinstance(error, ValidationError):
        return "; ".join(_given(problem) for problem in error.errors(include_url=False)[:3])
    if isinstance(error, GlmimgError):
        return f"{error.message}. {error.hint}" if error.hint else error.message
    return str(error)


def _given(problem: Any) -> str:
    where, what = ".".join(map(str, problem["loc"])), what_is_wrong(problem)
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such field; there are {', '.join(line_form().model_fields)}"
    return f"{where}: {what}" if where else what
