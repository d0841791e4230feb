"""The knobs beside a `Job`: which model to load, which source pictures to read, where results go."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from glmimg.job import Fit
from glmimg.knob import DRAW, MODEL, OUTPUT, SOURCES, FailFast, Knob, Settings


def _several(value: Any) -> Any:
    """Accept a YAML list as a tuple, and a single value where several are allowed."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _unless_auto(value: Any) -> Any:
    return None if value == "auto" else value


NATIVE = "native"
"""The attention kernels that torch chooses."""

MOST_KEPT = 7 * 86_400.0
UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(value: Any) -> Any:
    """`90s`, `10m`, `2h` or a number of seconds as seconds. Raises ValueError."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]+)?)\s*([smh]?)\s*", value.lower())
    if found is None:
        raise ValueError("not a duration; for example 10m, 90s or 2h")
    return float(found[1]) * UNITS.get(found[2], 1)


Several = Annotated[tuple[str, ...], FailFast(), BeforeValidator(_several)]
Dtype = Literal["auto", "fp32", "bf16", "fp16"]
Memory = Literal["auto", "resident", "stage", "offload", "stream"]
Quality = Annotated[int, Field(ge=1, le=100)]
Seconds = Annotated[float, Field(ge=0, le=MOST_KEPT)]
Rows = Annotated[int, Field(ge=1, le=4096)]


class ModelChoice(Settings):
    """Which model to load, and how to load it on this machine."""

    model: Annotated[str, Knob("A hub id, a directory, or demo.", MODEL, "MODEL", "zai-org/GLM-Image", short="-m")] = ""
    revision: Annotated[str | None, Knob("Revision of a hub model.", MODEL, "REV", rare=True)] = None
    device: Annotated[str, Knob("auto, cpu, cuda, mps, xpu; per stage cuda:0,cuda:1.", MODEL, "DEVICE")] = "auto"
    dtype: Annotated[Dtype, Knob("auto (bf16 where supported), fp32, bf16, fp16.", MODEL, "DTYPE")] = "auto"
    memory: Annotated[Memory, Knob("auto, resident, stage, offload, stream.", MODEL, "HOW")] = "auto"
    quantize: Annotated[str, Knob("none, auto, int8, fp8, int4, nf4, or ar=int4,dit=int8.", MODEL, "WAY")] = "none"
    lora: Annotated[Several, Knob("A LoRA adapter, PATH_OR_HUB[:FILE][:SCALE]; repeatable.", MODEL, "LORA")] = ()
    compile: Annotated[
        bool | None,
        Knob("Compile the forward passes; --no-compile also turns off CUDA graphs.", MODEL, negated=True, rare=True),
    ] = None
    attention: Annotated[
        str, Knob("Attention kernels of stage 2, by diffusers' name: native, flash, sage ...", MODEL, "NAME", rare=True)
    ] = NATIVE
    ar_batch: Annotated[
        Rows | None,
        BeforeValidator(
            lambda value: None if value == "auto" else value, json_schema_input_type=Rows | Literal["auto"]
        ),
        Knob("Token grids drawn at once: auto, or a number.", MODEL, "N", "auto", rare=True),
    ] = None

    @property
    def rows(self) -> int | None:
        """Token grids drawn at once; None leaves it to the stage."""
        return self.ar_batch

    @property
    def changes(self) -> list[str]:
        """What changes the model's weights or passes, as recorded in dumps and pictures."""
        compressed = [] if self.quantize == "none" else [f"quantize {self.quantize}"]
        compiled = ["compile"] if self.compile else []
        kernels = [] if self.attention == NATIVE else [f"attention {self.attention}"]
        return [*compressed, *(f"lora {lora}" for lora in self.lora), *compiled, *kernels]


class Keeping(Settings):
    """Whether the model stays loaded in a worker. keep: seconds, given as `90s`, `10m` or `2h`"""

    keep: Annotated[
        Seconds | None,
        BeforeValidator(parse_duration, json_schema_input_type=Seconds | str),
        Knob("Keep the model loaded in a worker for this long after its last picture.", MODEL, "TIME"),
    ] = None
    no_worker: Annotated[bool, Knob("Draw in this process, even if a worker is running.", MODEL, rare=True)] = False


class Sources(Settings):
    """Which source pictures a command reads, and how they are prepared."""

    image: Annotated[
        Several,
        Knob(
            "A source picture, a file or https address; repeatable, order matters.",
            SOURCES,
            "PATH",
            short="-i",
            env=False,
        ),
    ] = ()
    fit: Annotated[Fit | None, Knob("How to fit a source longer than 4:1: pad or crop.", SOURCES, "WAY", "pad")] = None
    background: Annotated[
        str | None,
        Knob("Colour behind transparent pixels and in the padding.", SOURCES, "COLOUR", "white", rare=True),
    ] = None
    fetch: Annotated[bool, Knob("Fetch sources from https addresses.", SOURCES, negated=True, rare=True)] = True
    source: Annotated[
        Several, Knob("New path of a source picture that has moved; repeatable.", SOURCES, "PATH", env=False, rare=True)
    ] = ()


class Ideas(Settings):
    """How one line becomes many pictures."""

    sweep: Annotated[
        Several, Knob("Draw with each value: guidance=1,1.5,2; twice for a grid.", DRAW, "KNOB=..", env=False)
    ] = ()
    literal: Annotated[bool, Knob("Do not expand {a|b} and __name__ in prompts.", DRAW, rare=True)] = False
    enhance: Annotated[bool, Knob("Have a language model rewrite the prompt first.", DRAW)] = False
    enhance_url: Annotated[
        str | None, Knob("Its endpoint, such as http://localhost:11434/v1.", DRAW, "URL", rare=True)
    ] = None
    enhance_model: Annotated[str | None, Knob("Its name there, such as qwen3:8b.", DRAW, "NAME", rare=True)] = None
    enhance_key_file: Annotated[str | None, Knob("A file with the endpoint's key.", DRAW, "PATH", rare=True)] = None
    yes: Annotated[bool, Knob("More than 200 pictures of alternatives and sweeps.", DRAW, env=False, rare=True)] = False
    sheet: Annotated[
        bool | None, Knob("Also write a contact sheet; --sweep does so by itself.", OUTPUT, negated=True, rare=True)
    ] = None


class Output(Settings):
    """Where the results of a command go, and what it prints."""

    out: Annotated[
        str | None,
        Knob(
            "Where results go; {seed}, {index}, {prompt} are filled in; - is stdout.",
            OUTPUT,
            "PATH",
            short="-o",
            env=False,
        ),
    ] = None
    tokens_out: Annotated[
        str | None, Knob("Where to write the dump.", OUTPUT, "PATH", "beside the picture", rare=True)
    ] = None
    preview_out: Annotated[
        str | None, Knob("Paint the preview as a draft while the target is written.", OUTPUT, "PATH", rare=True)
    ] = None
    image_quality: Annotated[
        Quality, Knob("Quality of a JPEG, WebP or AVIF picture, 1 to 100.", OUTPUT, "N", rare=True)
    ] = 95
    no_tokens: Annotated[bool, Knob("Write no token dump.", OUTPUT, rare=True)] = False
    no_metadata: Annotated[bool, Knob("Leave metadata and tokens out of the picture.", OUTPUT, rare=True)] = False
    history: Annotated[bool, Knob("Record this command in the history.", OUTPUT, negated=True, rare=True)] = True
    embed_sources: Annotated[
        bool, Knob("Embed the source pictures in the dump, to make it self-contained.", OUTPUT, rare=True)
    ] = False
    as_json: Annotated[bool, Knob("Print one JSON object per line for each result.", OUTPUT, flag="--json")] = False
    events: Annotated[
        bool, Knob("Progress as JSON lines on standard error, for other programs.", OUTPUT, env=False, rare=True)
    ] = False
    force: Annotated[bool, Knob("Overwrite existing files.", OUTPUT, short="-f")] = False
    show: Annotated[bool, Knob("Show a small picture on the terminal, after its preview.", OUTPUT, rare=True)] = False
    open: Annotated[bool, Knob("Open the picture in the desktop's viewer; at most four.", OUTPUT, rare=True)] = False
    dry_run: Annotated[bool, Knob("Show what would be drawn, without drawing it.", OUTPUT, env=False)] = False
    quiet: Annotated[bool, Knob("No progress and no notes.", OUTPUT, short="-q")] = False
    verbose: Annotated[bool, Knob("More notes; a traceback on failure.", OUTPUT, short="-v")] = False
