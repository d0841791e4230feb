"""The token dump, which stage 1 writes and stage 2 paints from, as UTF-8 JSON.

One dump is one picture. Ids are d32 ids, one per 32x32 px, never upsampled; nothing is padded or
guessed (0 is a valid code). Its structure is checked here, everything else elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from glmimg.grid import CELL_PX, GridShape, Role, preview_shape, target_shape
from glmimg.job import (
    Job,
    Method,
    Name,
    Painting,
    Prompt,
    Sampling,
    Scene,
    Seed,
    Sha256,
    Side,
    Size,
    SourceRef,
    size_as_value,
)
from glmimg.knob import FailFast

FORMAT = "glmimg.tokens"
VERSION = 2
"""Since 2 a dump may say how it is meant to be painted; files of version 1 stay readable."""

ROW = r"\[\n[-+.\deE,\s]+\]"
"""A list of numbers in indented JSON."""

Cells = Annotated[int, Field(ge=1, le=1 << 16)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]

Ids = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], FailFast()]
LogProbs = Annotated[list[Annotated[float, Field(le=0)]], FailFast()]
Entropies = Annotated[list[Annotated[float, Field(ge=0)]], FailFast()]


# defer_build: only the outermost record's validator is ever needed, and building one takes milliseconds.
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class _Record(BaseModel):
    model_config = STRICT


def _is_unsaid(value: object) -> bool:
    return value is None or value == []


class Grid(_Record):
    """A rectangle of visual tokens, row by row.

    logprobs: natural logarithm of the probability the model gave each token among all codes, before
              temperature, top-k and top-p; None if not scored
    entropy:  of the same distribution in nats, how undecided the model was there
    """

    role: Role
    height: Cells
    width: Cells
    tokens: Annotated[list[Ids], FailFast()]
    logprobs: Annotated[Annotated[list[LogProbs], FailFast()] | None, Field(exclude_if=_is_unsaid)] = None
    entropy: Annotated[Annotated[list[Entropies], FailFast()] | None, Field(exclude_if=_is_unsaid)] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        values: dict[str, Sequence[Sequence[float]] | None] = {
            "tokens": self.tokens,
            "logprobs": self.logprobs,
            "entropy values": self.entropy,
        }
        for what, rows in values.items():
            if rows is not None and len(rows) != self.height:
                raise ValueError(f"{self.role} grid states {self.height} rows but has {len(rows)} of {what}")
            for number, row in enumerate(rows or ()):
                if len(row) != self.width:
                    raise ValueError(f"{self.role} grid, row {number}: {len(row)} {what} instead of {self.width}")
        return self

    @property
    def shape(self) -> GridShape:
        return GridShape(self.height, self.width)

    @classmethod
    def from_flat(cls, role: Role, shape: GridShape, ids: Sequence[int]) -> Grid:
        """Fold `shape.cells` ids, row after row, into a grid. Raises ValueError if the count is another."""
        rows = [list(ids[start : start + shape.columns]) for start in range(0, len(ids), shape.columns)]
        return cls(role=role, height=shape.rows, width=shape.columns, tokens=rows)

    @classmethod
    def several(cls, shapes: Sequence[tuple[Role, GridShape]], ids: Sequence[int]) -> list[Grid]:
        """Grids written one after the other, from all their ids. Raises as `from_flat`."""
        ends = list(accumulate((shape.cells for _, shape in shapes), initial=0))
        return [
            cls.from_flat(role, shape, ids[start:end])
            for (role, shape), (start, end) in zip(shapes, pairwise(ends), strict=True)
        ]

    def flat(self) -> list[int]:
        """The ids row after row, `height * width` of them."""
        return [token for row in self.tokens for token in row]


class Source(SourceRef):
    """A source picture of an edit with its codes.

    grid:     one code per 32x32 px of the prepared picture
    embedded: the prepared pixels as a base64 PNG, which makes the dump self-contained
    """

    model_config = STRICT

    grid: Grid
    embedded: Base64 | None = None

    @model_validator(mode="after")
    def _grid_fits(self) -> Self:
        with size_as_value():
            cells = target_shape(self.height, self.width)
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

    changes: what changed it from the checkpoint: "quantize int8", "lora style.safetensors:0.8", "compile"
    """

    id: Name
    revision: Name | None
    codebook_size: Annotated[int, Field(ge=1)]
    fingerprint: Name
    changes: list[str] = []


class SamplingRecord(_Record):
    """How the tokens were drawn; `top_k` 0 is none."""

    temperature: Annotated[float, Field(gt=0, le=100)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=0)] | None = None
    method: Name = "sequential"
    window: Annotated[int, Field(ge=1)] | None = None


class Stats(_Record):
    """Time and passes of drawing the tokens."""

    seconds: Annotated[float, Field(ge=0)]
    tokens: Annotated[int, Field(ge=0)]
    forward_passes: Annotated[int, Field(ge=0)]


class Parent(_Record):
    """A file that some of a dump's tokens were taken from.

    role:   base (was changed), kept (gave cells to a redraw), pasted (gave a region), picture (whose codes these are)
    cells:  of the target grid that came from it
    region: what was redrawn or pasted, as it was said; None for all
    """

    role: Literal["base", "kept", "pasted", "picture"]
    path: Name
    sha256: Sha256
    cells: Annotated[int, Field(ge=0)]
    region: Name | None = None


class TokenDump(_Record):
    """One picture as visual tokens, with everything needed to paint it and to trace its origin.

    painting: how it is to be painted, if the command that wrote it recorded that
    """

    format: Literal["glmimg.tokens"] = "glmimg.tokens"
    version: Literal[1, 2] = 2
    prompt: Prompt
    forms: Annotated[list[Prompt], FailFast(), Field(max_length=8, exclude_if=_is_unsaid)] = []
    height: Side
    width: Side
    seed: Seed
    grids: Annotated[list[Grid], FailFast()]
    sources: Annotated[list[Source], FailFast()] = []
    model: ModelRef
    sampling: SamplingRecord
    stats: Stats
    painting: Annotated[Painting | None, Field(exclude_if=_is_unsaid)] = None
    parents: Annotated[list[Parent], FailFast(), Field(exclude_if=_is_unsaid)] = []
    glmimg: Name

    @model_validator(mode="after")
    def _grids_fit(self) -> Self:
        roles = [grid.role for grid in self.grids]
        expected = ["target"] if self.sources else ["preview", "target"]
        if roles not in (expected, ["preview"]) or (self.sources and roles != expected):
            raise ValueError(f"grids are {roles or 'missing'}, should be {expected}")
        with size_as_value():
            target = target_shape(self.height, self.width)
            shapes = {"target": target} if self.sources else {"target": target, "preview": preview_shape(target)}
        if self.painting is not None:
            self.painting.check_fits(self.size, self.sources)
        for grid in self.grids:
            if grid.shape != (needed := shapes[grid.role]):
                raise ValueError(
                    f"the {grid.role} grid is {grid.height}x{grid.width}, "
                    f"a {self.size} px picture needs {needed.rows}x{needed.columns} (rows x columns)"
                )
        return self

    @model_validator(mode="after")
    def _ids_in_codebook(self) -> Self:
        size = self.model.codebook_size
        for grid in self.all_grids:
            for number, row in enumerate(grid.tokens):
                if max(row, default=0) >= size:
                    column, code = next((column, code) for column, code in enumerate(row) if code >= size)
                    place = f"{grid.role} grid, row {number}, column {column}"
                    raise ValueError(f"{place}: id {code} is outside the codebook of {size}")
        return self

    @property
    def all_grids(self) -> list[Grid]:
        """Its own grids and those of its sources."""
        return [*self.grids, *(source.grid for source in self.sources)]

    @property
    def size(self) -> Size:
        return Size(self.height, self.width)

    @property
    def scene(self) -> Scene:
        sources = tuple(source.ref for source in self.sources)
        return Scene(prompt=self.prompt, size=self.size, sources=sources, forms=tuple(self.forms))

    @property
    def drawn_with(self) -> Sampling:
        """The sampling settings that draw its tokens again."""
        is_drawn = self.sampling.method in get_args(Method)
        said = self.sampling.model_dump(exclude=None if is_drawn else {"method", "window"})
        return Sampling.model_validate({**said, "seed": self.seed, "top_k": said["top_k"] or None})

    def job(self, painting: Painting) -> Job:
        """The whole job of a picture painted from it."""
        return Job(scene=self.scene, sampling=self.drawn_with, painting=painting)

    @property
    def job_parts(self) -> tuple[Scene | Sampling | Painting, ...]:
        """Its job settings; the painting only if it is recorded."""
        return self.scene, self.drawn_with, *filter(None, [self.painting])

    @property
    def has_target(self) -> bool:
        """False for a dump that stopped after its preview."""
        return self.grids[-1].role == "target"

    @property
    def target(self) -> Grid:
        """The grid to paint. There is none in a dump that stopped after its preview: see `check_has_grid`."""
        return next(grid for grid in self.grids if grid.role == "target")

    @property
    def preview(self) -> Grid | None:
        return next((grid for grid in self.grids if grid.role == "preview"), None)

    def as_target(self, role: Role) -> TokenDump:
        """The dump with another of its grids in the place of its target, and of that size; for painting only."""
        if role == "target":
            return self
        grid = next(grid for grid in self.grids if grid.role == role)
        sides = {"height": grid.height * CELL_PX, "width": grid.width * CELL_PX}
        return self.model_copy(update={**sides, "grids": [grid.model_copy(update={"role": "target"})]})

    def to_json(self) -> str:
        """The dump as the text of a file, with one line per row of tokens, so that `diff` shows cells."""
        embeds = any(source.embedded for source in self.sources)
        text = self.model_dump_json(indent=1, ensure_ascii=embeds)  # large files are read as ASCII only
        # A real line break never stands inside a JSON string, so text of the prompt is never touched.
        return re.sub(ROW, lambda row: "[" + " ".join(row.group()[1:-1].split()) + "]", text) + "\n"
