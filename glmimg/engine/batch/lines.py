"""The lines of a job list: JSON objects, rows of a table or plain prompts, each checked by itself.

A line ends at LF, CRLF or CR. Lines are read one at a time, so that neither a long list nor a wrong file fills the
memory.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import PurePath
from typing import IO, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from glmimg.errors import GlmimgError
from glmimg.request import Partial, job_form, what_is_wrong

MAX_LINE = 1 << 20
"""Characters. A job takes a few hundred; a longer line means a wrong file, and is not read into memory."""

MAX_LONG = 64
"""How many times that length is skipped of a line that is too long; then reading stops."""

MAX_NAME_BYTES = 200
"""Room is left for endings and for the temporary file's own ending."""

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
ARRAY = re.compile(r'\[\s*(?:$|[{"])')
"""How a JSON array of jobs begins."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """One line of a list: its job settings, and fields about the line itself.

    given:   knobs of a job by name, and its prompt
    name:    of the two files, without extension; None makes one from the job
    presets: names or paths of presets, over those of the command line
    sources: paths of the pictures an edit starts from
    sweep, literal, enhance: as of `Ideas`
    """

    given: dict[str, Any]
    name: str | None = None
    presets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    sweep: tuple[str, ...] = ()
    literal: bool = False
    enhance: bool = False

    @classmethod
    def of(cls, values: dict[str, Any], *, strict: bool = True) -> JobLine:
        """A line from its fields. Raises ValidationError, or UsageError for a size or window that cannot be."""
        given = line_form().model_validate(values, strict=strict).given()
        name, literal, enhance = (given.pop(field, None) for field in ("name", "literal", "enhance"))
        several = [given.pop(field, ()) for field in ("preset", "sources", "sweep")]
        presets, sources, sweep = ((each,) if isinstance(each, str) else tuple(each) for each in several)
        return cls(given, name, presets, sources, sweep, bool(literal), bool(enhance))


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a valid job."""

    line: int
    reason: str


Texts = Iterator[tuple[int, str | BadLine]]
Lines = Iterator[tuple[int, JobLine | BadLine]]


@cache
def line_form() -> type[Partial]:
    """The fields a line may have."""
    name = Annotated[str, Field(min_length=1), AfterValidator(_file_name)]
    more: dict[str, Any] = {"name": name, "preset": str | list[str], "sources": list[str]}
    more |= {"sweep": str | list[str], "literal": bool, "enhance": bool}
    return job_form({field: (kind | None, None) for field, kind in more.items()})


def read_lines(stream: IO[bytes], source: str) -> Lines:
    """Each non-blank line with its number, in the format given by the list's extension or first line."""
    texts, ending = _texts(stream), PurePath(source).suffix.lower()
    for number, text in texts:
        if isinstance(text, BadLine):
            yield number, text
        elif text.strip():
            break
    else:
        return
    assert isinstance(text, str)
    texts = chain([(number, text)], texts)
    if reason := problem_of_list(text, ending):
        yield number, BadLine(number, reason)
    elif delimiter := delimiter_of(text, ending):
        yield from _table(texts, delimiter)
    else:
        is_json = ending in JSON_ENDINGS or (ending != ".txt" and text.lstrip().startswith("{"))
        for number, text in texts:
            if isinstance(text, BadLine):
                yield number, text
            elif text.strip():
                yield number, _parse(number, text, is_json=is_json)


def _texts(stream: IO[bytes]) -> Texts:
    """Every line as text, with invalid UTF-8 escaped, or why it is not text; never holds more than one line."""
    reader = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=None)
    number = 0
    while text := reader.readline(MAX_LINE):
        number += 1
        if text.endswith("\n") or len(text) < MAX_LINE:
            yield number, text
            continue
        yield number, BadLine(number, f"is longer than {MAX_LINE // 2**20} MiB")
        for _ in range(MAX_LONG):
            if text.endswith("\n") or not (text := reader.readline(MAX_LINE)):
                break
        else:  # no list: a device, or a film
            break
    reader.detach()


def problem_of_list(first: str, ending: str) -> str:
    """Why a list that begins like this cannot be read; empty if it can."""
    if first.startswith(("\udcff\udcfe", "\udcfe\udcff")) or first.count("\0") > len(first) // 3:
        return "is UTF-16 text; save the list as UTF-8"
    if ARRAY.match(first.strip()):
        return "starts a JSON array; write one object per line, as `jq -c '.[]'` does"
    if ending == ".txt" and isinstance(_parse(1, first, is_json=True), JobLine):
        return "is a JSON object in a list of prompts; call the file .jsonl"
    return ""


def delimiter_of(first: str, ending: str) -> str:
    """The cell separator of a table, from its header; empty if the list is no table."""
    if ending in (*JSON_ENDINGS, ".txt"):
        return ""
    for delimiter in ",;\t|":
        header = _cells(first, delimiter)
        if "prompt" in header or (len(header) > 1 and set(header) <= set(line_form().model_fields)):
            return delimiter
    return DELIMITERS.get(ending, "")


def _parse(number: int, text: str, *, is_json: bool) -> JobLine | BadLine:
    if found := re.search("[\udc80-\udcff]", text):
        return BadLine(number, f"is not UTF-8 text (byte {len(text[: found.start()].encode()) + 1})")
    if not is_json:
        return JobLine({"prompt": text.strip()})
    try:
        values = json.loads(text, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"is not JSON: {error}")
    return _job_line(number, values) if isinstance(values, dict) else BadLine(number, "is not a JSON object")


def _job_line(number: int, values: dict[str, Any], *, strict: bool = True) -> JobLine | BadLine:
    try:
        return JobLine.of(values, strict=strict)
    except (ValidationError, GlmimgError) as error:
        return BadLine(number, problem_text(error))


def _no_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a field is given twice")
    return values


def _table(texts: Texts, delimiter: str) -> Lines:
    """Rows under a header of field names; an empty cell counts as not given. Quoted cells may span lines."""
    position, first = next(texts)
    header, known = _cells(str(first), delimiter), line_form().model_fields
    unknown = [name for name in header if name not in known]
    if unknown or len(set(header)) < len(header) or "prompt" not in header:
        reason = f"unknown column {unknown[0]!r}" if unknown else "the header repeats a column or lacks `prompt`"
        yield position, BadLine(position, f"{reason}; there are {', '.join(known)}")
        return
    bad: list[BadLine] = []

    def feed() -> Iterator[str]:
        nonlocal position
        for position, text in texts:  # noqa: B007 (read outside)
            if isinstance(text, BadLine):
                bad.append(text)
            else:
                yield text

    rows = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield position, BadLine(position, f"is not CSV: {error}")
            continue
        yield from ((each.line, each) for each in bad)
        bad.clear()
        if row is None:
            return
        if "".join(row).strip() or len(row) > 1:
            yield position, _row(position, header, row)


def _row(number: int, header: list[str], row: list[str]) -> JobLine | BadLine:
    if len(row) != len(header):
        return BadLine(number, f"has {len(row)} cells, but the header has {len(header)}")
    if re.search("[\udc80-\udcff]", "".join(row)):
        return BadLine(number, "is not UTF-8 text")
    cells: dict[str, Any] = {key: cell for key, cell in zip(header, row, strict=True) if cell.strip()}
    if "sources" in cells:
        cells["sources"] = [path.strip() for path in cells["sources"].split(";") if path.strip()]
    return _job_line(number, cells, strict=False)


def _cells(text: str, delimiter: str) -> list[str]:
    """The cells of a header, as field names are written."""
    try:
        return [cell.strip().lower() for cell in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _file_name(name: str) -> str:
    """The name, if it can be a file name in the output folder. Raises ValueError."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise ValueError("contains a control character")
    if ".." in name or re.search(r"[/\\:]", name):
        raise ValueError("must not contain '..', '/', '\\' or ':'")
    if name.startswith(".") or name != name.strip():
        raise ValueError("must not begin with a dot, nor begin or end with a space")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"is longer than {MAX_NAME_BYTES} bytes")
    return name


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
        return f"{where}: no such field; the fields are {', '.join(line_form().model_fields)}"
    return f"{where}: {what}" if where else what
