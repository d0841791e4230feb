"""Every option once. Commands name these; defaults of `None` mean "not said"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DRAW, SOURCES = "What to draw", "Source pictures"
MODEL, OUTPUT = "Model and machine", "Output"
BATCH, CLUSTER = "The batch", "On a cluster"

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROMPT]...",
        help="What to draw. Several draw several; - reads them from standard input, one a line.",
        show_default=False,
    ),
]
PromptFile = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="Read prompts from a file, one a line; - is standard input, where t2i draws each as it comes.",
        rich_help_panel=DRAW,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Where to write; {seed}, {index} and {prompt} are filled in; - is standard output.",
        rich_help_panel=OUTPUT,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        envvar="GLMIMG_MODEL",
        help="A hub id, a directory in the diffusers layout, or `demo`. [default: zai-org/GLM-Image]",
        rich_help_panel=MODEL,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision", metavar="REV", envvar="GLMIMG_REVISION", help="Revision of a hub model.", rich_help_panel=MODEL
    ),
]
Presets = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        "-p",
        metavar="NAME",
        help="A preset's name or a YAML file; repeatable, later wins.",
        rich_help_panel=DRAW,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        "-s",
        metavar="WxH",
        envvar="GLMIMG_SIZE",
        help="Target size in pixels, both sides multiples of 32.",
        rich_help_panel=DRAW,
    ),
]
Count = Annotated[
    int,
    typer.Option(
        "--count",
        "-n",
        metavar="N",
        min=1,
        max=100_000,
        help="Pictures per prompt: seeds seed, seed+1, ..., each with its own tokens.",
        rich_help_panel=DRAW,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        envvar="GLMIMG_SEED",
        help="Seed of both stages. [default: random, reported]",
        rich_help_panel=DRAW,
    ),
]
DitSeed = Annotated[
    int | None,
    typer.Option(
        "--dit-seed",
        metavar="N",
        min=0,
        envvar="GLMIMG_DIT_SEED",
        help="Another seed for stage 2 (painting).",
        rich_help_panel=DRAW,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        max=1000,
        envvar="GLMIMG_STEPS",
        help="Denoising steps. [default: 50]",
        rich_help_panel=DRAW,
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        metavar="X",
        min=1,
        max=100,
        envvar="GLMIMG_GUIDANCE",
        help="Classifier-free guidance scale; 1 turns it off. [default: 1.5]",
        rich_help_panel=DRAW,
    ),
]
GuidanceWindow = Annotated[
    str | None,
    typer.Option(
        "--guidance-window",
        metavar="FROM,TO",
        envvar="GLMIMG_GUIDANCE_WINDOW",
        help="Guide only between these shares of the schedule, such as 0.1,0.8; saves passes, changes pixels.",
        rich_help_panel=DRAW,
    ),
]
GuidanceBatch = Annotated[
    bool | None,
    typer.Option(
        "--guidance-batch/--no-guidance-batch",
        envvar="GLMIMG_GUIDANCE_BATCH",
        help="Run the guided and the unguided pass as one batch: more memory, other rounding.",
        rich_help_panel=DRAW,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="NAME",
        envvar="GLMIMG_SCHEDULER",
        help="euler, heun, unipc or dpm; the last three reach as far in fewer steps. [default: euler]",
        rich_help_panel=DRAW,
    ),
]
Cache = Annotated[
    float | None,
    typer.Option(
        "--cache",
        metavar="X",
        min=0.0001,
        max=1,
        envvar="GLMIMG_CACHE",
        help="Reuse blocks of the step before while they change by less than X, such as 0.12; needs cache-dit.",
        rich_help_panel=DRAW,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="X",
        min=0.001,
        max=100,
        envvar="GLMIMG_TEMPERATURE",
        help="AR sampling temperature. [default: the checkpoint's]",
        rich_help_panel=DRAW,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="X",
        min=0.000001,
        max=1,
        envvar="GLMIMG_TOP_P",
        help="AR nucleus sampling. [default: the checkpoint's]",
        rich_help_panel=DRAW,
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="PNG",
        help="Make a picture of glmimg again, from its own metadata; other options override.",
        rich_help_panel=DRAW,
    ),
]
Images = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        "-i",
        metavar="PATH",
        help="A source picture, any that Pillow opens; repeatable, in the order the prompt speaks of them.",
        rich_help_panel=SOURCES,
    ),
]
Fit = Annotated[
    str | None,
    typer.Option(
        "--fit",
        metavar="WAY",
        help="What to do with a source longer than 4:1: pad it or crop it. [default: pad]",
        rich_help_panel=SOURCES,
    ),
]
Background = Annotated[
    str | None,
    typer.Option(
        "--background",
        metavar="COLOUR",
        help="Colour under transparent and around padded pixels of a source. [default: white]",
        rich_help_panel=SOURCES,
    ),
]
Elsewhere = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        metavar="PATH",
        help="Where a source is now that is not where the picture or dump says; repeatable, told apart by hash.",
        rich_help_panel=SOURCES,
    ),
]
EmbedSources = Annotated[
    bool,
    typer.Option(
        "--embed-sources",
        help="Put the source pixels into the dump, so that it travels alone.",
        rich_help_panel=SOURCES,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        envvar="GLMIMG_DEVICE",
        help="auto, cpu, cuda, cuda:1, mps, xpu; or one for each stage: cuda:0,cuda:1.",
        rich_help_panel=MODEL,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        envvar="GLMIMG_DTYPE",
        help="auto (bf16 on an accelerator, fp32 on the CPU), fp32, bf16, fp16.",
        rich_help_panel=MODEL,
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        metavar="HOW",
        envvar="GLMIMG_MEMORY",
        help="auto (what fits), resident (keep both halves), stage (one half at a time), offload (one part at a "
        "time), stream (layers come from their files when needed).",
        rich_help_panel=MODEL,
    ),
]
Quantize = Annotated[
    str,
    typer.Option(
        "--quantize",
        metavar="WAY",
        envvar="GLMIMG_QUANTIZE",
        help="Compress weights: none, int8, fp8, int4 (torchao), nf4 (bitsandbytes), or by half: ar=int4,dit=int8.",
        rich_help_panel=MODEL,
    ),
]
Loras = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="LORA",
        help="An adapter for either half: PATH_OR_HUB or PATH_OR_HUB:SCALE; repeatable; needs peft.",
        rich_help_panel=MODEL,
    ),
]
AnyModel = Annotated[
    bool,
    typer.Option(
        "--any-model", help="Paint dumps with other decoder weights than they were written for.", rich_help_panel=MODEL
    ),
]
TokensOut = Annotated[
    str | None,
    typer.Option(
        "--tokens-out",
        metavar="PATH",
        help="Where the token dump goes. [default: beside the picture]",
        rich_help_panel=OUTPUT,
    ),
]
NoTokens = Annotated[bool, typer.Option("--no-tokens", help="Keep no token dump.", rich_help_panel=OUTPUT)]
NoMetadata = Annotated[
    bool, typer.Option("--no-metadata", help="Leave out of the picture how it was made.", rich_help_panel=OUTPUT)
]
BatchOut = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder for pictures, dumps and results.jsonl; made if missing. Or a URI such as s3://bucket/folder.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out lines no job can be made of.", rich_help_panel=BATCH)
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Draw only the jobs that failed before.", rich_help_panel=BATCH)
]
RoundSize = Annotated[
    int | None,
    typer.Option(
        "--round",
        metavar="N",
        min=1,
        help="Paint after this many dumps. [default: one batch where both stages fit in memory, else all jobs]",
        rich_help_panel=BATCH,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="ENGINE", help="local: this machine; ray: a Ray cluster.", rich_help_panel=CLUSTER
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="The cluster: auto, host:port or ray://host:port. [default: one is started on this machine]",
        rich_help_panel=CLUSTER,
    ),
]
ARWorkers = Annotated[
    int, typer.Option("--ar-workers", metavar="N", min=1, max=10_000, help="Stage 1.", rich_help_panel=CLUSTER)
]
DiTWorkers = Annotated[
    int, typer.Option("--dit-workers", metavar="N", min=1, max=10_000, help="Decoders.", rich_help_panel=CLUSTER)
]
Gallery = Annotated[
    bool,
    typer.Option(
        "--gallery", help="Also write index.html, a page with everything in the folder.", rich_help_panel=OUTPUT
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done, how long it takes and what it needs; draw nothing.",
        rich_help_panel=BATCH,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line for each result, and nothing else, on standard output.",
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.", rich_help_panel=OUTPUT)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="More notes, and a traceback for failures of exit 1.", rich_help_panel=OUTPUT),
]
