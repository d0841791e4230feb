"""What a worker is asked to do in one go, as it goes over the socket: JSON, with pictures as PNG in base64."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from glmimg.engine.dispatcher import Client, Ticket
from glmimg.engine.engine import Engine
from glmimg.engine.scope import Scope
from glmimg.events import unwatched
from glmimg.grid import Role, target_shape
from glmimg.job import Job, Painting, SourceRef
from glmimg.sources import PreparedSource, SourceShelf
from glmimg.tokens import change
from glmimg.tokens.dump import Parent, TokenDump
from glmimg.unfinished import Part, Unfinished, parse_unfinished

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


class SentPart(Sent):
    """Where a client keeps work that is left unfinished.

    path: as messages call it
    left: what lies there, as base64
    """

    path: str
    work: Unfinished
    left: str | None = None

    @classmethod
    def of(cls, part: Part | None) -> SentPart | None:
        if part is None:
            return None
        left = None if part.done is None else base64.b64encode(part.raw()).decode("ascii")
        return cls(path=str(part.path).encode(errors="replace").decode(), work=part.work, left=left)


@dataclass(frozen=True)
class Left:
    """What work of a unit, by its place, has so far: for the client to keep."""

    number: int
    raw: bytes


@dataclass(frozen=True)
class ServedPart(Part):
    """A client's part, in its worker: it came with the unit, and goes back as news."""

    tell: Callable[[Left], None]
    number: int
    came: bytes

    @classmethod
    def of(cls, sent: SentPart | None, tell: Callable[[Any], None], number: int = 0) -> ServedPart | None:
        if sent is None:
            return None
        return cls(Path(sent.path), sent.work, tell, number, base64.b64decode(sent.left or "", validate=True))

    def raw(self) -> bytes:
        return self.came

    def keep(self, raw: bytes) -> None:
        self.tell(Left(self.number, raw))

    def _left(self) -> Unfinished | None:
        return parse_unfinished(io.BytesIO(self.came), self.path) if self.came else None


class Unit(Sent):
    """Work of a few seconds up to some minutes, done without a pause.

    scope:   the most the client's run asks for
    sources: every picture the unit reads
    """

    scope: Scope
    sources: tuple[SentSource, ...] = ()

    def ticket(self, client: Client, shelf: SourceShelf, tell: Callable[[Any], None]) -> Ticket:
        """As a dispatcher does it. tell: hears its news, and `Left`"""

        def prepare() -> None:
            for source in self.sources:
                shelf.put(source.prepared())
            if isinstance(self, Paint | Score):
                shelf.only(self.dump, Path("the dump"))

        return Ticket(client, self.done_by, tell, self.scope, prepare=prepare)

    def done_by(self, engine: Engine) -> object:
        """Do it, where its ticket does not say how. Raises GlmimgError."""
        raise NotImplementedError


class Work(Sent):
    """A `TokenWork`."""

    job: Job
    begun: TokenDump | None = None
    until: Role = "target"
    part: SentPart | None = None

    @classmethod
    def of(cls, work: change.TokenWork) -> Work:
        return cls(job=work.job, begun=work.begun, until=work.until, part=SentPart.of(work.part))

    def token_work(self, tell: Callable[[Any], None] = unwatched, number: int = 0) -> change.TokenWork:
        return change.TokenWork(self.job, self.begun, self.until, ServedPart.of(self.part, tell, number))


class Write(Unit):
    """Stage 1 for some works of one kind."""

    to: Literal["write"] = "write"
    works: Annotated[tuple[Work, ...], Field(min_length=1, max_length=4096)]

    def ticket(self, client: Client, shelf: SourceShelf, tell: Callable[[Any], None]) -> Ticket:
        works = tuple(work.token_work(tell, number) for number, work in enumerate(self.works))
        plain = super().ticket(client, shelf, tell)
        return replace(plain, works=works, do=lambda engine: list(engine.write(works)))


class RowsThatFit(Unit):
    """How many works like this one stage 1 can draw at once."""

    to: Literal["rows"] = "rows"
    work: Work

    def done_by(self, engine: Engine) -> object:
        return engine.tokens().rows_that_fit(self.work.token_work())


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
    """Stage 2. meanwhile: it is a draft, for who waits for its target"""

    to: Literal["paint"] = "paint"
    dump: TargetOnly
    painting: Painting
    meanwhile: bool = False
    part: SentPart | None = None

    def ticket(self, client: Client, shelf: SourceShelf, tell: Callable[[Any], None]) -> Ticket:
        part = ServedPart.of(self.part, tell)
        return replace(
            super().ticket(client, shelf, tell), stage="picture", meanwhile=self.meanwhile,
            do=lambda engine: engine.paint(self.dump, self.painting, part=part),
        )  # fmt: skip


class Redraw(Unit):
    """A part of a dump's tokens drawn anew."""

    to: Literal["redraw"] = "redraw"
    redraw: change.Redraw

    def done_by(self, engine: Engine) -> object:
        return engine.change(lambda stage: stage.redraw(self.redraw, engine.watch))


class Score(Unit):
    """The log-probability of every token of a dump."""

    to: Literal["score"] = "score"
    dump: TokenDump

    def done_by(self, engine: Engine) -> object:
        return engine.change(lambda stage: stage.score(self.dump))


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

    def done_by(self, engine: Engine) -> object:
        about = (self.height, self.width, self.prompt, self.seed, self.painting, self.parent)
        reading = change.Reading(unpack_picture(self.image), *about)
        return engine.change(lambda stage: stage.encode(reading))


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
