"""What a worker is asked to do in one go, as it goes over the socket: JSON, with pictures as PNG in base64."""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from glmimg.engine.engine import Engine
from glmimg.engine.stages import Scope
from glmimg.grid import Role, target_shape
from glmimg.job import Job, Painting, SourceRef
from glmimg.sources import PreparedSource
from glmimg.tokens import change
from glmimg.tokens.dump import Grid, Parent, TokenDump
from glmimg.tokens.region import CellMask

if TYPE_CHECKING:
    from PIL.Image import Image

Message = dict[str, Any]


class Sent(BaseModel):
    """Base of what is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class SentSource(Sent):
    """A source picture as the client prepared it: which it is, and the pixels both stages read."""

    ref: SourceRef
    png: str

    @classmethod
    def of(cls, source: PreparedSource) -> SentSource:
        return cls(ref=source.ref, png=pack_picture(source.image))

    def prepared(self) -> PreparedSource:
        """Raises ValueError for what is no picture of its size."""
        image = unpack_picture(self.png)
        if image.size != (self.ref.width, self.ref.height):
            raise ValueError(f"source of {image.width}x{image.height} pixels, not {self.ref.width}x{self.ref.height}")
        return PreparedSource(self.ref, image)


class Unit(Sent, ABC):
    """Work of a few seconds up to some minutes, done without a pause.

    scope:   the most the client's run asks for
    sources: every picture the unit reads
    """

    scope: Scope
    sources: tuple[SentSource, ...] = ()

    @abstractmethod
    def done_by(self, engine: Engine) -> Message:
        """Do it. Raises GlmimgError."""


class Work(Sent):
    """A `TokenWork` but for the place where it is left unfinished: that is the client's."""

    job: Job
    begun: TokenDump | None = None
    until: Role = "target"

    def token_work(self) -> change.TokenWork:
        return change.TokenWork(self.job, self.begun, self.until)


class Write(Unit):
    """Stage 1 for some works of one kind."""

    to: Literal["write"] = "write"
    works: Annotated[tuple[Work, ...], Field(min_length=1, max_length=4096)]

    @property
    def kind(self) -> tuple[object, ...]:
        """What units have in common that stage 1 can draw as one batch."""
        return self.works[0].token_work().kind

    def done_by(self, engine: Engine) -> Message:
        dumps = engine.write([work.token_work() for work in self.works])
        return {"dumps": [as_json(dump) for dump in dumps]}

    def joined(self, others: list[Write]) -> Write:
        """This and others of its kind as one unit."""
        units = [self, *others]
        works = tuple(work for unit in units for work in unit.works)
        return self.model_copy(
            update={"works": works, "sources": tuple(each for unit in units for each in unit.sources)}
        )


class RowsThatFit(Unit):
    """How many works like this one stage 1 can draw at once."""

    to: Literal["rows"] = "rows"
    work: Work

    def done_by(self, engine: Engine) -> Message:
        return {"rows": engine.tokens().rows_that_fit(self.work.token_work())}


class TargetOnly(TokenDump):
    """A dump as stage 2 is given it: what it paints stands there as the target, and is the only grid."""

    @classmethod
    def of(cls, dump: TokenDump) -> TargetOnly:
        return cls.model_construct(**{**dict(dump), "grids": [dump.target]})

    @model_validator(mode="after")
    def _grids_fit(self) -> Self:
        if [grid.role for grid in self.grids] != ["target"] or self.target.shape != target_shape(*self.size):
            raise ValueError("there is not just a target grid that fits the size")
        return self


class Paint(Unit):
    """Stage 2."""

    to: Literal["paint"] = "paint"
    dump: TargetOnly
    painting: Painting

    def done_by(self, engine: Engine) -> Message:
        return {"picture": pack_picture(engine.paint(self.dump, self.painting).image)}


class Redraw(Unit):
    """A part of a dump's tokens drawn anew; fields as of `change.Redraw`."""

    to: Literal["redraw"] = "redraw"
    job: Job
    kept: tuple[Grid, ...]
    anew: tuple[CellMask, ...]
    parents: tuple[Parent, ...]

    def done_by(self, engine: Engine) -> Message:
        redraw = change.Redraw(self.job, self.kept, self.anew, self.parents)
        return {"dump": as_json(engine.change(lambda stage: stage.redraw(redraw, engine.watch)))}


class Score(Unit):
    """The log-probability of every token of a dump."""

    to: Literal["score"] = "score"
    dump: TokenDump

    def done_by(self, engine: Engine) -> Message:
        return {"dump": as_json(engine.change(lambda stage: stage.score(self.dump)))}


class Encode(Unit):
    """A picture's own tokens; fields as of `change.Reading`."""

    to: Literal["encode"] = "encode"
    image: str
    height: int
    width: int
    prompt: str
    seed: int
    painting: Painting
    parent: Parent

    def done_by(self, engine: Engine) -> Message:
        about = (self.height, self.width, self.prompt, self.seed, self.painting, self.parent)
        reading = change.Reading(unpack_picture(self.image), *about)
        return {"dump": as_json(engine.change(lambda stage: stage.encode(reading)))}


AnyUnit = Annotated[Write | RowsThatFit | Paint | Redraw | Score | Encode, Field(discriminator="to")]


@cache
def _adapter() -> TypeAdapter[Unit]:
    return TypeAdapter(AnyUnit)


def parse_unit(raw: bytes) -> Unit:
    """A unit from its JSON. Raises pydantic's ValidationError."""
    return _adapter().validate_json(raw)


def as_json(record: BaseModel) -> Message:
    """A record as JSON has it."""
    return record.model_dump(mode="json", by_alias=True)


def pack_picture(image: Image) -> str:
    """A picture as a PNG in base64, quickly rather than small."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def unpack_picture(text: str) -> Image:
    """An RGB picture. Raises ValueError, BadImage (exit 3)."""
    from glmimg.pictures import PNG, opened

    with opened("a picture sent", base64.b64decode(text, validate=True), formats=PNG) as image:
        image.load()
        return image.convert("RGB")
