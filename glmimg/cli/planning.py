"""`glmimg models plan`: what each stage needs, which settings fit, roughly how long they take."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glmimg.choice import ModelChoice, Output, Sources
from glmimg.cli.console import Console
from glmimg.cli.options import Request, only, takes
from glmimg.engine.batch.settings import CLUSTER
from glmimg.errors import ModelMissing, OutOfMemory, UsageError
from glmimg.job import Painting, Scene
from glmimg.knob import MODEL, SOURCES
from glmimg.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from glmimg.engine.rates import StageSeconds
    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.runtime.proposal import Proposal


for_cluster = partial(typer.Option, rich_help_panel=CLUSTER)
HOW_MANY = "How many cluster workers reach this rate; with --gpu or --measured."
MADE = "An earlier batch, whose measured times are used instead of estimates."
Vram = Annotated[
    str | None,
    typer.Option(metavar="AMOUNT", help="Plan for a card with this much memory, such as 12GB.", rich_help_panel=MODEL),
]
SourceSize = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WxH",
        help="Plan for a source picture of this size, in pixels; repeatable, after those of -i.",
        rich_help_panel=SOURCES,
    ),
]
PicturesPerHour = Annotated[float | None, for_cluster(metavar="N", min=0.001, max=1e9, help=HOW_MANY)]
Gpu = Annotated[str | None, for_cluster(metavar="NAME", help="A card by its name, such as H100 or 4090.")]
Measured = Annotated[str | None, for_cluster(metavar="DIR", help=MADE)]


@takes(
    only(Scene, "size"),
    only(Painting, "steps", "guidance"),
    only(ModelChoice, "model", "revision", "device", "dtype", "quantize", "ar_batch"),
    only(Sources, "image", "fit"),
    only(Output, "as_json"),
)
def plan(
    request: Request,
    vram: Vram = None,
    source_size: SourceSize = None,
    pictures_per_hour: PicturesPerHour = None,
    gpu: Gpu = None,
    measured: Measured = None,
) -> None:
    """Estimate a picture's memory and time, and which settings fit, without loading the model.

    \b
    Examples:
      glmimg models plan --vram 12GB --size 2048x2048 --quantize int8
      glmimg models plan --source-size 1024x1024 --vram 24GB
      glmimg models plan --model demo
      glmimg models plan --pictures-per-hour 600 --gpu H100 --size 1024x1024
    """
    from glmimg.engine.rates import find_card
    from glmimg.runtime.device import check_names
    from glmimg.runtime.machine import parse_bytes
    from glmimg.runtime.proposal import propose

    choice, given, console = request.settings(ModelChoice), request.job(), request.console
    check_names(choice)
    checkpoint = find_shapes(choice)
    sources = source_sizes(request.settings(Sources), source_size or [], checkpoint)
    size_px = given.get("size") or (sources[0] if sources else checkpoint.default_size)
    count, guided = given.get("steps", 50), given.get("guidance", 1.5) > 1
    if pictures_per_hour is not None:
        wanted = Wanted(pictures_per_hour, size_px, count, guided, choice.rows)
        show_workers(wanted, find_seconds(wanted, gpu, measured, is_sized="size" in given), console)
        return
    if measured or choice.rows or (gpu and vram):
        raise UsageError("--measured and --ar-batch go with --pictures-per-hour, --gpu or --vram", "Say one of them.")
    amount = parse_bytes(vram, "--vram") if vram else find_card(gpu).memory if gpu else None
    proposal = propose(checkpoint, choice, size_px, amount, count, guided, sources)
    if console.json:
        console.result("", asdict(proposal))
    else:
        console.result(proposal.headline, {})
        console.show(needs_table(proposal))
        console.show(settings_table(proposal))
        console.show(reasons_table(proposal))
        console.show(ways_table(proposal))
        console.result(proposal.advice, {})
    if not proposal.chosen:
        raise OutOfMemory("no setting fits", "Use a smaller --size, --dtype bf16, or another device.")


def source_sizes(settings: Sources, more: list[str], checkpoint: Checkpoint) -> tuple[tuple[int, int], ...]:
    """(height, width) of every source picture as the model will read it.

    raises: BadImage (exit 3), UsageError (exit 2)
    """
    from glmimg.pictures import open_picture
    from glmimg.sources.prepare import choose_size

    found = [open_picture(Path(path)).image.size for path in settings.image]
    for text in more:
        sides = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text.strip().lower())
        if sides is None:
            raise UsageError(f"--source-size {text!r} is not of the form WIDTHxHEIGHT", "For example 1200x800.")
        found.append((int(sides[1]), int(sides[2])))
    bounds = checkpoint.source_bounds if found else None
    return tuple(choose_size(height, width, bounds, settings.fit or "pad")[:2] for width, height in found if bounds)


@dataclass(frozen=True)
class Wanted:
    """A wanted rate, and which pictures it is for. rows: jobs stage 1 draws at once, None for the batch's default."""

    pictures_per_hour: float
    size_px: tuple[int, int]
    steps: int
    guided: bool
    rows: int | None

    @property
    def description(self) -> str:
        height, width = self.size_px
        guidance = "guided" if self.guided else "without guidance"
        return f"{self.pictures_per_hour:g} pictures/hour of {width}x{height}, {self.steps} steps {guidance}"


def find_seconds(wanted: Wanted, gpu: str | None, measured: str | None, *, is_sized: bool) -> StageSeconds:
    """Seconds per picture: measured if a batch is named, else estimated from the card.

    is_sized: whether only pictures of the wanted size count among the measured ones
    raises:   UsageError (exit 2) for neither, or an unknown card; BadInput (exit 3) for a batch without times
    """
    from glmimg.engine.rates import find_card, guess_seconds, read_seconds
    from glmimg.engine.stages import AR_BATCH

    height, width = wanted.size_px
    if measured is not None:
        return read_seconds(measured, f"{width}x{height}" if is_sized else None)
    if gpu is None:
        raise UsageError("--pictures-per-hour needs --gpu or --measured", "For example --gpu H100.")
    batch = wanted.rows or AR_BATCH
    return guess_seconds(find_card(gpu), height, width, steps=wanted.steps, guided=wanted.guided, rows=batch)


def show_workers(wanted: Wanted, seconds: StageSeconds, console: Console) -> None:
    """Show how many workers of each kind are needed, the rate they reach, and the command that starts them."""
    from glmimg.engine.rates import plan_workers

    workers = plan_workers(wanted.pictures_per_hour, seconds)
    fields = asdict(workers) | {"wanted_pictures_per_hour": wanted.pictures_per_hour}
    if console.json:
        console.result("", fields)
        return
    ar, dit = workers.ar_workers, workers.decoders
    rows = {
        "wanted": wanted.description if not seconds.jobs else f"{wanted.pictures_per_hour:g} pictures/hour",
        "a picture": f"{seconds.tokens:.2f} s of stage 1, {seconds.picture:.2f} s of stage 2 ({seconds.source})",
        "workers": f"{counted(ar, 'AR worker')}, {counted(dit, 'decoder')}",
        "reached": f"{workers.pictures_per_hour:.0f} pictures/hour",
        "command": f"glmimg batch JOBS -o URI --engine ray --address auto --ar-workers {ar} --dit-workers {dit}",
    }
    for name, text in rows.items():
        console.result(f"{name:10} {text}", {})


def find_shapes(choice: ModelChoice) -> Checkpoint:
    """The checkpoint on this machine, else the known shapes of a published one. Raises ModelMissing (exit 4)."""
    from glmimg.runtime.known import known_checkpoint
    from glmimg.runtime.resolve import DEFAULT_MODEL, resolve

    try:
        return resolve(choice.model, choice.revision)
    except ModelMissing:
        known = known_checkpoint(choice.model or DEFAULT_MODEL)
        if known is None:
            raise
        return known


def needs_table(proposal: Proposal) -> Table:
    """Peak memory of each stage by what it goes to, everything on the device."""
    from rich.table import Table

    table = Table("needs", "weights", "KV cache", "working", "base", "peak", box=None, pad_edge=False)
    for stage, need in (("stage 1: tokens", proposal.ar), ("stage 2: picture", proposal.dit)):
        parts = (need.weights, need.kv_cache, need.activations, need.base, need.peak)
        table.add_row(stage, *(gigabytes(part) for part in parts))
    return table


def settings_table(proposal: Proposal) -> Table:
    """Each setting with its peaks, whether it fits, and roughly how long it takes. Figures are never cut."""
    from rich.table import Table

    table = Table("setting", box=None, pad_edge=False)
    for figure in ("stage 1", "stage 2", "fits", "load", "tokens", "picture"):
        table.add_column(figure, no_wrap=True)
    for each in proposal.settings:
        peaks = gigabytes(each.ar_peak), gigabytes(each.dit_peak)
        times = seconds(each.load_s), seconds(each.tokens_s), seconds(each.picture_s)
        table.add_row(each.command, *peaks, "yes" if each.fits else "no", *times, style="bold" if each.chosen else "")
    return table


def reasons_table(proposal: Proposal) -> Table:
    """What limits the speed, one line for all settings that share it."""
    from rich.table import Table

    settings: dict[str, list[str]] = {}
    for each in proposal.settings:
        name = each.command.removeprefix("--memory ").partition(" (")[0]
        settings.setdefault(each.why, []).append(name)
    table = Table("settings", "limited by", box=None, pad_edge=False)
    for reason, names in settings.items():
        table.add_row(", ".join(names), reason)
    return table


def ways_table(proposal: Proposal) -> Table:
    """Exact weights and each way to compress them, each in the fastest setting that fits."""
    from rich.table import Table

    table = Table("--quantize", box=None, pad_edge=False)
    for figure in ("stage 1", "stage 2", "tokens", "picture", "memory", "changes"):
        table.add_column(figure, no_wrap=True)
    for each in proposal.ways:
        figures = ["-"] * 4 + ["fits nowhere"]
        if each.plan is not None:
            figures = [gigabytes(each.ar_peak), gigabytes(each.dit_peak), seconds(each.tokens_s)]
            figures += [seconds(each.picture_s), each.plan.mode]
        table.add_row(each.quantize, *figures, each.changes)
    return table


def gigabytes(amount: float) -> str:
    """A number of bytes in units of 10^9, as text."""
    return f"{amount / 1e9:.2f} GB" if amount < 10e9 else f"{amount / 1e9:.1f} GB"


def seconds(amount: float) -> str:
    """A duration as text: seconds, or minutes if it is long."""
    return f"{amount:.1f} s" if amount < 120 else f"{amount / 60:.0f} min"
