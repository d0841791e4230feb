"""The token dump: what stage 1 leaves on disk and stage 2 paints from, as UTF-8 JSON.

One dump is one picture. Ids are d32 ids, one per 32x32 px, never upsampled; nothing is padded or
guessed (0 is a real code). Reading checks the structure here; whether a dump fits the model about
to decode it is `check_fits_model`, whether its sources are still there is the sources' own check.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.types import FailFast as _FailFast
from pydantic_core import from_json

from glmimg.atomic import write_atomically
from glmimg.errors import BadDump, SizeError
from glmimg.source_ref import Fit, SourceRef
from glmimg.grid import CELL_PX, GridShape, Role, preview_shape, target_shape
from glmimg.tokens.guard import MAX_BYTES, check_bounds, check_text, count_keys, excerpt

FORMAT = "glmimg.tokens"
VERSION = 1

Side = Annotated[int, Field(ge=1, le=1 << 16)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Prompt = Annotated[str, Field(max_length=1 << 17)]
Name = Annotated[str, Field(max_length=4096)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FailFast(_FailFast):
    """Stop at the first bad item: a list of a hundred thousand faults needs one message. Hashable, for unions."""

    __hash__ = object.__hash__


Ids = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], FailFast()]
LogProbs = Annotated[list[Annotated[float, Field(le=0)]], FailFast()]
Entropies = Annotated[list[Annotated[float, Field(ge=0)]], FailFast()]


class _Record(BaseModel):
    # defer_build: only the outermost record's validator is ever needed, and building one takes milliseconds.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    def count_keys(self) -> int:
        """How many keys were said, in this record and in those inside it."""
        values = (getattr(self, name) for name in self.model_fields_set)
        items = [item for value in values for item in (value if isinstance(value, list) else [value])]
        return len(self.model_fields_set) + sum(item.count_keys() for item in items if isinstance(item, _Record))


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: Sequence[object]) -> bool:
    return not value


class Grid(_Record):
    """A rectangle of visual tokens, row by row.

    logprobs: natural logarithm of the probability the model gave each token among all codes, before
              temperature, top-k and top-p; None where nobody asked
    entropy:  of the same distribution in nats, how undecided the model was there
    """

    role: Role
    height: Side
    width: Side
    tokens: Annotated[list[Ids], FailFast()]
    logprobs: Annotated[Annotated[list[LogProbs], FailFast()] | None, Field(exclude_if=_is_none)] = None
    entropy: Annotated[Annotated[list[Entropies], FailFast()] | None, Field(exclude_if=_is_none)] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        self._check_rows("tokens", self.tokens)
        self._check_rows("logprobs", self.logprobs)
        self._check_rows("entropy values", self.entropy)
        return self

    def _check_rows(self, what: str, rows: Sequence[Sequence[float]] | None) -> None:
        if rows is None:
            return
        if len(rows) != self.height:
            raise ValueError(f"{self.role} grid says {self.height} rows and has {len(rows)} of {what}")
        for number, row in enumerate(rows):
            if len(row) != self.width:
                raise ValueError(f"{self.role} grid, row {number}: {len(row)} {what} instead of {self.width}")

    @property
    def shape(self) -> GridShape:
        return GridShape(self.height, self.width)

    @classmethod
    def from_flat(cls, role: Role, shape: GridShape, ids: Sequence[int]) -> Grid:
        """Fold `shape.cells` ids, row after row, into a grid. Raises ValueError if the count is another."""
        rows = [list(ids[start : start + shape.columns]) for start in range(0, len(ids), shape.columns)]
        return cls(role=role, height=shape.rows, width=shape.columns, tokens=rows)

    def flat(self) -> list[int]:
        """The ids row after row, `height * width` of them."""
        return [token for row in self.tokens for token in row]


class Source(_Record):
    """A source picture of an edit: where it was, what it was, and its codes.

    path:          of the file, as it was given
    sha256:        of the file's bytes
    height, width: of the prepared picture in pixels, which is what both stages saw
    fit:           "pad" or "crop" if the file's aspect had to be changed for that, else None
    background:    colour under transparent and around padded pixels, `#rrggbb`
    grid:          one code per 32x32 px of the prepared picture
    embedded:      the prepared pixels as a base64 PNG, so that the dump travels alone
    """

    path: Name
    sha256: Sha256
    height: Side
    width: Side
    fit: Fit | None = None
    background: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] = "#ffffff"
    grid: Grid
    embedded: Base64 | None = None

    @model_validator(mode="after")
    def _grid_fits(self) -> Self:
        try:
            cells = target_shape(self.height, self.width)
        except SizeError as error:
            raise ValueError(error.message) from error
        if self.grid.role != "source" or self.grid.shape != cells:
            raise ValueError(
                f"its grid is a {self.grid.role} of {self.grid.height}x{self.grid.width}, a {self.width}x{self.height} "
                f"px picture has a source grid of {cells.rows}x{cells.columns} (rows x columns)"
            )
        return self

    @property
    def ref(self) -> SourceRef:
        """The source as jobs refer to it."""
        return SourceRef(**self.model_dump(exclude={"grid", "embedded"}))


class ModelRef(_Record):
    """The model that wrote a dump.

    changes: what made it another than the checkpoint's: "quantize int8", "lora style.safetensors:0.8", "compile"
    """

    id: Name
    revision: Name | None
    codebook_size: Annotated[int, Field(ge=1)]
    fingerprint: Name
    changes: list[str] = []


class SamplingRecord(_Record):
    """How the tokens were drawn."""

    temperature: Annotated[float, Field(gt=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=0)] | None = None
    method: Name = "sequential"
    window: Annotated[int, Field(ge=1)] | None = None


class Stats(_Record):
    """What drawing the tokens took."""

    seconds: Annotated[float, Field(ge=0)]
    tokens: Annotated[int, Field(ge=0)]
    forward_passes: Annotated[int, Field(ge=0)]


class Parent(_Record):
    """A file some of a dump's tokens were taken from.

    role:   base (the dump that was changed), kept (gave the cells kept in a redraw), pasted (gave the
            region pasted in), picture (whose codes these are)
    sha256: of the file
    cells:  of the target grid that came from it
    region: what was redrawn or pasted, as it was said; None for all
    """

    role: Literal["base", "kept", "pasted", "picture"]
    path: Name
    sha256: Sha256
    cells: Annotated[int, Field(ge=0)]
    region: Name | None = None


class TokenDump(_Record):
    """One picture as visual tokens, with everything needed to paint it and to know where it came from."""

    format: Literal["glmimg.tokens"] = "glmimg.tokens"
    version: Literal[1] = 1
    prompt: Prompt
    height: Side
    width: Side
    seed: Seed
    grids: Annotated[list[Grid], FailFast()]
    sources: Annotated[list[Source], FailFast()] = []
    model: ModelRef
    sampling: SamplingRecord
    stats: Stats
    parents: Annotated[list[Parent], FailFast(), Field(exclude_if=_is_empty)] = []
    glmimg: Name

    @model_validator(mode="after")
    def _grids_fit(self) -> Self:
        if self.height % CELL_PX or self.width % CELL_PX:
            raise ValueError(f"size {self.width}x{self.height} is no multiple of {CELL_PX}")
        roles = [grid.role for grid in self.grids]
        expected = ["target"] if self.sources else ["preview", "target"]
        if roles not in (expected, ["preview"]) or (self.sources and roles != expected):
            raise ValueError(f"grids are {roles or 'missing'}, should be {expected}")
        if any(source.grid.role != "source" for source in self.sources):
            raise ValueError("the grid of a source should have the role 'source'")
        try:
            target = target_shape(self.height, self.width)
            shapes = {"target": target} if self.sources else {"target": target, "preview": preview_shape(target)}
        except SizeError as error:
            raise ValueError(error.message) from error
        for grid in self.grids:
            if grid.shape != shapes[grid.role]:
                rows, columns = shapes[grid.role]
                raise ValueError(
                    f"the {grid.role} grid is {grid.height}x{grid.width}, "
                    f"a {self.width}x{self.height} px picture needs {rows}x{columns} (rows x columns)"
                )
        return self

    @model_validator(mode="after")
    def _ids_in_codebook(self) -> Self:
        size = self.model.codebook_size
        for grid in [*self.grids, *(source.grid for source in self.sources)]:
            for number, row in enumerate(grid.tokens):
                if row and max(row) >= size:
                    column = next(index for index, token in enumerate(row) if token >= size)
                    raise ValueError(
                        f"{grid.role} grid, row {number}, column {column}: "
                        f"id {row[column]} is outside the codebook of {size}"
                    )
        return self

    @property
    def has_target(self) -> bool:
        """False for a dump that stopped after its preview."""
        return self.grids[-1].role == "target"

    @property
    def target(self) -> Grid:
        """The grid to paint. There is none in a dump that stopped after its preview: see `tokens.painting`."""
        return next(grid for grid in self.grids if grid.role == "target")

    @property
    def preview(self) -> Grid | None:
        return next((grid for grid in self.grids if grid.role == "preview"), None)

    def to_json(self) -> str:
        """The dump as it stands in a file: a row of tokens a line, so that `diff` shows cells."""
        embeds = any(source.embedded for source in self.sources)
        text = self.model_dump_json(indent=1, ensure_ascii=embeds)  # large files are read only as ASCII: see guard.py
        return _rows_on_one_line(text) + "\n"


def read_dump(path: Path) -> TokenDump:
    """Read and check a dump.

    raises: BadDump (exit 3) for anything that is not a whole, valid dump of a known version
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadDump(path, f"cannot be read: {error.strerror}") from error
    return parse_dump(raw, path)


def parse_dump(raw: bytes, name: Path | str) -> TokenDump:
    """A dump from its bytes; `name` stands in the error message. Raises BadDump (exit 3)."""
    check_bounds(raw, name)
    check_text(raw, name)
    # Parsed once and then checked as Python objects: checking JSON text copies the faulty part into every fault.
    try:
        document = from_json(raw)
    except ValueError as error:
        hint = "Copy it again if it was cut off on its way here; else draw it again: glmimg tokens PROMPT"
        raise BadDump(name, f"is not whole JSON ({excerpt(str(error))})", hint) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadDump(name, "is JSON, but not a token dump (no 'format': 'glmimg.tokens')")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BadDump(
            name,
            f"is of version {excerpt(str(version), 20)}, this glmimg reads up to {VERSION}",
            "Update glmimg: pip install --upgrade glmimg",
        )
    try:
        dump = TokenDump.model_validate(document)
    except ValidationError as error:
        raise BadDump(name, f"is not a valid token dump: {first_problem(error)}") from error
    if count_keys(raw) > dump.count_keys():
        raise BadDump(name, "says a key twice: readers would differ in which one they believe")
    return dump


def write_dump(dump: TokenDump, path: Path) -> None:
    """Write a dump whole or not at all. Raises WriteError (exit 1)."""
    write_atomically(path, dump.to_json().encode())


def check_fits_model(dump: TokenDump, path: Path | str, *, codebook_size: int) -> None:
    """Refuse a dump whose codes mean nothing to the model about to decode it.

    codebook_size: of the decoder, ids it can embed
    raises: BadDump (exit 3)
    """
    if dump.model.codebook_size != codebook_size:
        raise BadDump(
            path,
            f"was written by {dump.model.id} with a codebook of {dump.model.codebook_size}, "
            f"this model has {codebook_size}",
            f"Decode it with the model that wrote it: --model {dump.model.id}",
        )


def first_problem(error: ValidationError) -> str:
    """The first thing pydantic found wrong, as `where: what`."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(excerpt(str(part)) for part in problem["loc"])
    what = excerpt(problem["msg"].removeprefix("Value error, "))
    return f"{where}: {what}" if where else what


def _rows_on_one_line(text: str) -> str:
    """Fold the innermost lists of numbers of indented JSON onto one line each.

    A real line break never stands inside a JSON string, so text of the prompt is never touched.
    """
    return re.sub(r"\[\n[-+.\deE,\s]+\]", lambda row: "[" + " ".join(row.group()[1:-1].split()) + "]", text)
