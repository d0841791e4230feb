"""What decides a picture apart from the loaded model: a `Job` of a `Scene`, a `Sampling` and a `Painting`.

Every knob of the two stages is declared here and nowhere else; those of the model and of the command are in
`choice`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_serializer, model_validator

from glmimg.errors import SizeError, UsageError
from glmimg.grid import CELL_PX, GridShape, check_size, is_same_shape, nearest_side, target_shape
from glmimg.knob import DRAW, FailFast, Knob, Settings
from glmimg.prompts import MAX_PROMPT, check_negative
from glmimg.stencil import MAX_FEATHER, DroppedCells, Stencil

MAX_STEPS = 1000
"""More denoising steps than the timesteps of the model's training schedule make no sense."""

DRAFT_STEPS = 8
"""Denoising steps of a draft, enough to show a preview; the preset `draft` takes as many."""

MAX_SEED = (1 << 63) - 1
"""Seeds stay within what `torch.Generator.manual_seed` takes."""


class Size(NamedTuple):
    """A picture's sides in pixels, multiples of 32."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def cells(self) -> GridShape:
        """The target grid of such a picture."""
        return target_shape(*self)


def parse_size(text: str) -> Size:
    """Parse `WxH` in pixels, `N` for a square, or `W:H` for about a megapixel. Raises SizeError (exit 2)."""
    given = re.fullmatch(r"([0-9]{1,9})(?:\s*([x:])\s*([0-9]{1,9}))?", text.strip().lower().replace("×", "x"))
    if given is None:
        raise SizeError(f"size {text!r} is not of the form WIDTHxHEIGHT", "For example --size 1152x768, or 16:9.")
    width, mark, height = given.groups()
    if mark == ":" and int(width) and int(height):
        shape = math.sqrt(int(width) / int(height))
        size = Size(nearest_side(round(1024 / shape)), nearest_side(round(1024 * shape)))
    else:
        size = Size(int(height or width), int(width))
    check_size(*size)
    return size


def parse_window(text: str) -> tuple[float, float]:
    """`FROM,TO`, both from 0 to 1, the smaller first. Raises UsageError (exit 2)."""
    hint = "For example --guidance-window 0.1,0.8: guidance from 10 % to 80 % of the schedule."
    try:
        start, end = map(float, text.split(","))
    except ValueError as error:
        raise UsageError(f"--guidance-window {text!r} is not of the form FROM,TO", hint) from error
    if not 0 <= start < end <= 1:
        raise UsageError(f"--guidance-window {text!r}: not two numbers from 0 to 1, the smaller first", hint)
    return start, end


@contextmanager
def size_as_value() -> Iterator[None]:
    """Sizes in metadata are checked by pydantic, which only handles ValueError."""
    try:
        yield
    except SizeError as error:
        raise ValueError(error.message) from error


def _possible(size: Size) -> Size:
    with size_as_value():
        check_size(*size)
    return size


def _ordered(window: tuple[float, float] | None) -> tuple[float, float] | None:
    if window is not None and not 0 <= window[0] < window[1] <= 1:
        raise ValueError("not two numbers from 0 to 1, the smaller first")
    return window


def _word_or_number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _read_by(parse: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


AS_TEXT = BeforeValidator(lambda value: value)
"""For numbers that may be a list or a range on the command line, which is expanded beforehand."""

Name = Annotated[str, Field(max_length=4096)]
Prompt = Annotated[str, Field(max_length=1 << 17)]
"""A prompt in a file of ours, or an earlier form of it; with a bound, pydantic also refuses lone surrogates."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=CELL_PX, le=1 << 16, multiple_of=CELL_PX)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Positive = Annotated[int, Field(ge=1)]
Threshold = Annotated[float, Field(gt=0, le=1)]
CacheLevel = Literal["light", "deep"]
Fit = Literal["pad", "crop"]
Method = Literal["sequential", "jacobi"]
Scheduler = Literal["euler", "heun", "unipc", "dpm"]


class SourceRef(BaseModel):
    """A source picture of an edit: its file, and how it is prepared for both stages.

    sha256:        of the file's bytes
    height, width: of the prepared picture in pixels, which is what both stages see; the file's own may be others
    fit:           how an aspect the model cannot read was changed; None if it needed no change
    background:    colour under transparent and around padded pixels, `#rrggbb`
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    path: Name
    sha256: Sha256
    height: Side
    width: Side
    fit: Fit | None = None
    background: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] = "#ffffff"


class Scene(Settings):
    """What is drawn, in both stages.

    sources: the pictures an edit starts from; empty for text-to-image
    forms:   earlier forms of the prompt, as first written; empty if it is as it was written
    """

    prompt: Prompt
    size: Annotated[
        Size,
        _read_by(parse_size),
        AfterValidator(_possible),
        Knob("In steps of 32 px; 16:9 is a megapixel.", DRAW, "WxH", "the model's", short="-s"),
    ]
    sources: Annotated[tuple[SourceRef, ...], FailFast()] = ()
    forms: Annotated[tuple[Prompt, ...], FailFast(), Field(max_length=8)] = ()


class Sampling(Settings):
    """How stage 1 samples tokens from its logits."""

    seed: Annotated[
        Seed,
        AS_TEXT,
        Knob("Seed, or several: 1,5 or 1..8; -1 is random.", DRAW, "N", "random"),
    ]
    temperature: Annotated[float, Field(gt=0, le=100), Knob("Temperature of stage 1.", DRAW, "X", "the model's")]
    top_p: Annotated[float, Field(gt=0, le=1), Knob("Nucleus sampling of stage 1.", DRAW, "X", "the model's")]
    top_k: Annotated[
        Positive | None, Knob("Sample among the K most likely codes.", DRAW, "K", "the model's", rare=True)
    ] = None
    ar_method: Annotated[
        Method,
        Field(alias="method"),
        Knob("sequential, or jacobi: several tokens per pass.", DRAW, "METHOD", rare=True),
    ] = "sequential"
    ar_window: Annotated[
        Positive | None,
        Field(alias="window"),
        Knob("Largest window of jacobi, in tokens; it shrinks by itself.", DRAW, "N", rare=True),
    ] = None


class Painting(Settings):
    """How stage 2 paints a dump.

    guidance_window: steps of the schedule that are guided, as shares from 0 (noise) to 1; None guides all
    negative:  a text whose quoted words are what the unguided branch writes; empty for none
    scheduler: euler is what the model was trained with; the others are of second order
    cache:     light or deep: how many passes are forecast; a number: residual threshold under which cache-dit reuses
               blocks of the step before; None computes all
    mask:      what of an edit may change: the rest is its first source, put there when the picture is painted
    """

    dit_seed: Annotated[Seed, Knob("A separate seed for stage 2.", DRAW, "N", "--seed", rare=True)]
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS), Knob("Denoising steps.", DRAW, "N", "50")]
    guidance: Annotated[float, Field(ge=1, le=100), Knob("Guidance scale; 1 turns guidance off.", DRAW, "X", "1.5")]
    guidance_window: Annotated[
        tuple[float, float] | None,
        _read_by(parse_window),
        AfterValidator(_ordered),
        Knob("Guide only in this part of the schedule, such as 0.1,0.8.", DRAW, "FROM,TO", rare=True),
    ] = None
    negative: Annotated[
        str,
        Field(max_length=MAX_PROMPT, exclude_if=lambda value: not value),
        AfterValidator(check_negative),
        Knob("Quoted words that guidance steers away from writing.", DRAW, "TEXT"),
    ] = ""
    scheduler: Annotated[Scheduler, Knob("euler, heun, unipc or dpm.", DRAW, "NAME")] = "euler"
    cache: Annotated[
        CacheLevel | Threshold | None,
        _read_by(_word_or_number),
        Knob("light or deep: forecast half or two thirds of the passes.", DRAW, "LEVEL"),
    ] = None
    guidance_batch: Annotated[
        bool, Knob("Run both guidance branches as one batch: more memory, different rounding.", negated=True, rare=True)
    ] = False
    drop: Annotated[
        DroppedCells | None,
        Field(exclude_if=lambda value: value is None),
        Knob(
            "Paint this part without its tokens: a box in pixels, or a mask that is white there.",
            DRAW,
            "BOX|MASK",
            rare=True,
        ),
    ] = None
    mask: Annotated[
        Stencil | None,
        Field(exclude_if=lambda value: value is None),
        Knob("Change only this part of the source; the model sees no mask.", DRAW, "BOX|MASK"),
    ] = None
    feather: Annotated[
        int,
        Field(ge=0, le=MAX_FEATHER, exclude_if=lambda value: not value),
        Knob("Pixels within the mask's edge over which the source passes into the picture.", DRAW, "N", rare=True),
    ] = 0

    def check_fits(self, size: Size, sources: Sequence[SourceRef]) -> None:
        """Raises ValueError if cells to drop or the mask are not of this size, or no source fits what is masked."""
        target = size.cells
        if self.drop is not None and [len(row) for row in self.drop.cells] != [target.columns] * target.rows:
            raise ValueError(f"the cells to drop are not {target.rows}x{target.columns} (rows x columns)")
        if self.mask is None:
            return
        if not sources:
            raise ValueError("outside its mask a picture is its first source, and there is no source picture")
        first = sources[0]
        if not is_same_shape((first.height, first.width), size):
            said = f"the first source is {first.width}x{first.height} as it is read, and the picture {size}"
            raise ValueError(f"{said}: a picture of another shape keeps nothing of it")
        self.mask.pixels(size)

    def conflict(self) -> UsageError | None:
        """A conflict among the settings, if there is one."""
        if isinstance(self.cache, float) and self.guidance_batch:
            return UsageError("--cache X and --guidance-batch cannot be combined", "Use --cache light or deep.")
        if self.negative and self.guidance == 1:
            reason = "--negative and --guidance 1 cannot be combined: without guidance nothing reads it"
            return UsageError(reason, "Leave one out; --negative '' means none.")
        return None

    @property
    def draft(self) -> Painting:
        """How a preview is painted: fast, without guidance."""
        steps = min(self.steps, DRAFT_STEPS)
        return Painting(dit_seed=self.dit_seed, steps=steps, guidance=1.0, mask=self.mask, feather=self.feather)


class Job(BaseModel):
    """One picture, completely described. As JSON it is flat, in the form of the first edition: see `record`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    scene: Scene
    sampling: Sampling
    painting: Painting

    @model_serializer
    def record(self) -> dict[str, Any]:
        """The job as in metadata, ledgers and `--json`; keys never change, new ones are left out at their default."""
        scene, sampling = self.scene, self.sampling.model_dump(mode="json", by_alias=True)
        return {
            "prompt": scene.prompt,
            **({"forms": list(scene.forms)} if scene.forms else {}),
            "height": scene.size.height,
            "width": scene.size.width,
            "seed": sampling.pop("seed"),
            **self.painting.model_dump(mode="json"),
            "sampling": sampling,
            "sources": [source.model_dump(mode="json") for source in scene.sources],
        }

    @model_validator(mode="before")
    @classmethod
    def _from_record(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "scene" in value:
            return value
        rest = dict(value)
        size = Size(rest.pop("height", 0), rest.pop("width", 0))
        scene = {"prompt": rest.pop("prompt", None), "size": size, "sources": rest.pop("sources", ())}
        scene["forms"] = rest.pop("forms", ())
        drawn = rest.pop("sampling", {})
        sampling = {"seed": rest.pop("seed", None), **drawn} if isinstance(drawn, dict) else drawn
        return {"scene": scene, "sampling": sampling, "painting": rest}

    @model_validator(mode="after")
    def _painting_fits(self) -> Self:
        self.painting.check_fits(self.scene.size, self.scene.sources)
        return self

    def value(self, name: str) -> Any:
        """The value of a knob, or the prompt."""
        return next(getattr(part, name) for part in (self.scene, self.sampling, self.painting) if hasattr(part, name))

    @property
    def stage_one(self) -> tuple[Scene, Sampling]:
        """The part of the job that decides its tokens."""
        return self.scene, self.sampling

    @property
    def drawn(self) -> Self:
        """The part of the job that decides its pixels, without source paths and earlier forms of the prompt."""
        sources = tuple(source.model_copy(update={"path": ""}) for source in self.scene.sources)
        return self.model_copy(update={"scene": self.scene.model_copy(update={"sources": sources, "forms": ()})})

    def again(self, *, seed: int, dit_seed: int | None = None) -> Self:
        """The same job with another seed, and that seed for stage 2 unless another is given.

        raises: UsageError (exit 2) for a seed torch does not take
        """
        if seed > MAX_SEED:
            raise UsageError(f"seed {seed} is larger than {MAX_SEED}", "Use a smaller --seed or -n.")
        sampling = self.sampling.model_copy(update={"seed": seed})
        painting = self.painting.model_copy(update={"dit_seed": seed if dit_seed is None else dit_seed})
        return self.model_copy(update={"sampling": sampling, "painting": painting})


def random_seed() -> int:
    """A random seed, short enough to be typed."""
    import secrets

    return secrets.randbelow(1 << 31)
