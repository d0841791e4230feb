"""One piece of work, validated: what to draw, and separately which model to load for it.

A `Wish` is what somebody said (flags, presets, metadata), with `None` for "not said". A `Job` is
complete: everything that decides the pixels, next to the checkpoint itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from glmimg.errors import SizeError, UsageError
from glmimg.source_ref import Fit as Fit
from glmimg.source_ref import SourceRef as SourceRef
from glmimg.tokens.grid import check_size

MAX_STEPS = 1000
"""More denoising steps than the training schedule of the model has timesteps make no sense."""

DRAFT_STEPS = 8
"""Denoising steps that show what a preview says; the preset `draft` takes as many."""

MAX_PROMPT = 20_000
"""Characters; the model's context ends long before."""

Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Method = Literal["sequential", "jacobi"]
Window = tuple[float, float]
Scheduler = Literal["euler", "heun", "unipc", "dpm"]


class Wish(BaseModel):
    """What to draw, as far as somebody said it; `None` leaves it to the next in line.

    Order of precedence: flag, environment, preset, checkpoint.
    size:            `WxH` in pixels, multiples of 32
    guidance_window: `FROM,TO`, shares of the schedule between which guidance works
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    prompt: str | None = None
    size: str | None = None
    seed: Seed | None = None
    dit_seed: Seed | None = None
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    guidance: Annotated[float, Field(ge=1, le=100)] | None = None
    temperature: Annotated[float, Field(gt=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    ar_method: Method | None = None
    ar_window: Annotated[int, Field(ge=1)] | None = None
    guidance_window: str | None = None
    scheduler: Scheduler | None = None
    cache: Annotated[float, Field(gt=0, le=1)] | None = None
    guidance_batch: bool | None = None

    @field_validator("guidance_window")
    @classmethod
    def _is_window(cls, value: str | None) -> str | None:
        if value is not None:
            parse_window(value)
        return value

    @field_validator("size")
    @classmethod
    def _is_size(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_size(value)
            except SizeError as error:
                raise ValueError(f"{error.message}. {error.hint}") from error
        return value

    def over(self, other: Wish) -> Wish:
        """This wish, completed by another where it says nothing."""
        return other.model_copy(update=self.model_dump(exclude_none=True))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """A wish from values of the command line.

        raises: UsageError (exit 2), SizeError (exit 2), naming the option
        """
        if (size := fields.get("size")) is not None:
            parse_size(size)
        if (window := fields.get("guidance_window")) is not None:
            parse_window(window)
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = "--" + str(problem["loc"][0]).replace("_", "-")
            raise UsageError(
                f"{name}: {problem['msg']}, got {problem['input']!r}", "See --help for the range."
            ) from error


class Sampling(BaseModel):
    """How the AR stage draws a token from its logits.

    temperature: > 0, divides the logits
    top_p:       in (0, 1], nucleus sampling
    top_k:       >= 1, keep the k most likely ids; None keeps all
    method:      "sequential" draws one token a forward pass, "jacobi" several, from the same law
    window:      tokens "jacobi" drafts a pass at most; None leaves it to the program
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    method: Method = "sequential"
    window: Annotated[int, Field(ge=1)] | None = None


class Job(BaseModel):
    """One picture, completely said.

    height, width: pixels, multiples of 32
    seed:          of stage 1, and of stage 2 unless dit_seed says otherwise
    steps:         denoising steps, 1 to 1000
    guidance:      classifier-free guidance scale; 1 turns it off
    guidance_window, scheduler, cache, guidance_batch: see `PaintSettings`
    sources:       the pictures an edit starts from; empty for text-to-image
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    prompt: str
    height: int
    width: int
    seed: Seed
    dit_seed: Seed
    steps: int
    guidance: float
    guidance_window: Window | None = None
    scheduler: Scheduler = "euler"
    cache: float | None = None
    guidance_batch: bool = False
    sampling: Sampling
    sources: tuple[SourceRef, ...] = ()

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def painting(self) -> PaintSettings:
        return PaintSettings(
            self.dit_seed,
            self.steps,
            self.guidance,
            self.guidance_window,
            self.scheduler,
            self.cache,
            guidance_batch=self.guidance_batch,
        )

    @property
    def drafting(self) -> PaintSettings:
        """How its preview is painted: fast, without guidance."""
        return PaintSettings(self.dit_seed, min(self.steps, DRAFT_STEPS), 1.0)


@dataclass(frozen=True)
class DroppedCells:
    """Cells of a target grid that are painted as if they had no token.

    said:  the box or mask file that was asked for
    cells: rows of flags, one for each token
    """

    said: str
    cells: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class PaintSettings:
    """How stage 2 paints a dump.

    seed:     of the noise to start from
    steps:    denoising steps, 1 to 1000
    guidance: classifier-free guidance scale, >= 1; 1 turns it off
    guidance_window: steps of the schedule that are guided, as shares from 0 (noise) to 1; None guides all
    scheduler: euler is what the model was trained with; the others are of second order
    cache:    residual threshold under which cache-dit reuses blocks of the step before; None computes all
    dropped:  cells painted without their tokens
    guidance_batch: both branches of guidance in one batch: more memory, other rounding; not together with cache
    """

    seed: int
    steps: int
    guidance: float
    guidance_window: Window | None = None
    scheduler: Scheduler = "euler"
    cache: float | None = None
    dropped: DroppedCells | None = None
    guidance_batch: bool = False

    @classmethod
    def of(cls, wish: Wish, seed: int) -> Self:
        """How a wish paints a dump of this seed.

        raises: UsageError (exit 2) if it says neither steps nor guidance, or no possible window
        """
        if wish.steps is None or wish.guidance is None:
            raise UsageError("steps and guidance are not said", "Start from the preset `default`, or pass both.")
        return cls(
            seed=seed if wish.dit_seed is None else wish.dit_seed,
            steps=wish.steps,
            guidance=float(wish.guidance),
            guidance_window=parse_window(wish.guidance_window) if wish.guidance_window else None,
            scheduler=wish.scheduler or "euler",
            cache=wish.cache,
            guidance_batch=bool(wish.guidance_batch),
        )


@dataclass(frozen=True)
class ModelChoice:
    """Which model to load and where to put it.

    model:  a hub id, a directory in the diffusers layout, or "demo"
    device: "auto", "cpu", "cuda", "cuda:1", "mps", ..., or one for each stage: "cuda:0,cuda:1"
    dtype:  "auto", "fp32", "bf16" or "fp16"
    memory: "auto", "resident", "stage", "offload" or "stream"
    quantize: "none", "int8", "fp8", "int4", "nf4", or "ar=int4,dit=int8"
    loras:  adapters, `PATH_OR_HUB` or `PATH_OR_HUB:SCALE`
    compile: compile the passes of both halves; None leaves it to the device
    """

    model: str
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    memory: str = "auto"
    quantize: str = "none"
    loras: tuple[str, ...] = ()
    compile: bool | None = None

    @property
    def changes(self) -> list[str]:
        """What makes the model another than the checkpoint's, as recorded in dumps and pictures."""
        compressed = [] if self.quantize == "none" else [f"quantize {self.quantize}"]
        compiled = ["compile"] if self.compile else []
        return [*compressed, *(f"lora {lora}" for lora in self.loras), *compiled]


def parse_window(text: str) -> Window:
    """`FROM,TO`, both from 0 to 1, to numbers. Raises UsageError (exit 2)."""
    hint = "For example --guidance-window 0.1,0.8: guidance from 10 % to 80 % of the schedule."
    try:
        start, end = (float(each) for each in text.split(","))
    except ValueError as error:
        raise UsageError(f"--guidance-window {text!r} is not of the form FROM,TO", hint) from error
    if not 0 <= start < end <= 1:
        raise UsageError(f"--guidance-window {text!r}: not within 0 and 1, the smaller first", hint)
    return start, end


@dataclass(frozen=True)
class ARChoice:
    """How stage 1 is run; decides its speed, not what it draws.

    rows:    jobs drawn at once at most; None as many as pay and fit
    compile: compile the forward pass; None leaves it to the device
    """

    rows: int | None = None
    compile: bool | None = None


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` in pixels to (height, width). Raises SizeError (exit 2)."""
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (
        cross
        and width.strip().isascii()
        and width.strip().isdecimal()
        and height.strip().isascii()
        and height.strip().isdecimal()
        and max(len(width), len(height)) <= 9
    ):
        raise SizeError(f"size {text!r} is not of the form WIDTHxHEIGHT", "For example --size 1152x768.")
    check_size(int(height), int(width))
    return int(height), int(width)


def check_prompt(prompt: str) -> str:
    """The prompt, if it says something. Raises UsageError (exit 2)."""
    if not prompt.strip():
        raise UsageError("the prompt is empty", "Say what to draw, for example: glmimg t2i 'a red circle'.")
    if len(prompt) > MAX_PROMPT:
        raise UsageError(f"the prompt has {len(prompt)} characters, more than {MAX_PROMPT}", "Shorten it.")
    if "\0" in prompt or any("\ud800" <= char <= "\udfff" for char in prompt):
        raise UsageError("the prompt is not text (NUL or broken UTF-8 in it)", "Pass the prompt as UTF-8.")
    return prompt


def random_seed() -> int:
    """A fresh seed, short enough to be typed again."""
    import secrets

    return secrets.randbelow(1 << 31)
