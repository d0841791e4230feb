"""`glmimg models plan`: what each stage needs, which setting fits, about how long it takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glmimg.cli import options as o
from glmimg.cli.console import Console

if TYPE_CHECKING:
    from rich.table import Table

    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.runtime.proposal import Proposal


def plan(
    model: o.Model = None,
    revision: o.Revision = None,
    size: o.Size = None,
    vram: Annotated[
        str | None,
        typer.Option(
            "--vram",
            metavar="AMOUNT",
            help="Plan for a card of this memory, such as 12GB. [default: this machine's device]",
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
) -> None:
    """Say what a picture takes in memory and time, and which setting fits, without loading the model.

    Examples:

    glmimg models plan --vram 12GB --size 2048x2048

    glmimg models plan --model demo
    """
    from glmimg.errors import OutOfMemory
    from glmimg.job import ModelChoice, parse_size
    from glmimg.runtime.device import check_names
    from glmimg.runtime.machine import parse_bytes
    from glmimg.runtime.proposal import propose, propose_here

    check_names(ModelChoice(model or "", revision, device, dtype))
    checkpoint = find_shapes(model, revision)
    size_px = parse_size(size) if size else checkpoint.default_size
    count, guided = steps or 50, guidance is None or guidance > 1
    if vram is None:
        proposal = propose_here(checkpoint, size_px, device=device, dtype=dtype, steps=count, guided=guided)
    else:
        amount = parse_bytes(vram, "--vram")
        precision = "bf16" if dtype == "auto" else dtype
        proposal = propose(checkpoint, size_px, amount, dtype=precision, steps=count, guided=guided)
    console = Console(json=json)
    if json:
        console.result("", asdict(proposal))
    else:
        console.result(proposal.headline, {})
        console.show(needs_table(proposal))
        console.show(settings_table(proposal))
        console.result(proposal.advice, {})
    if not proposal.chosen:
        raise OutOfMemory("no setting fits", "Use a smaller --size, --dtype bf16, or another device.")


def find_shapes(model: str | None, revision: str | None) -> Checkpoint:
    """The checkpoint on this machine, else what is known of a published one. Raises ModelMissing (exit 4)."""
    import os

    from glmimg.errors import ModelMissing
    from glmimg.runtime.known import known_checkpoint
    from glmimg.runtime.resolve import DEFAULT_MODEL, resolve

    try:
        return resolve(model, revision)
    except ModelMissing:
        known = known_checkpoint(model or os.environ.get("GLMIMG_MODEL") or DEFAULT_MODEL)
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
    """Each setting with its peaks, whether it fits, and about how long it takes."""
    from rich.table import Table

    columns = ("setting", "stage 1", "stage 2", "fits", "load", "tokens", "picture", "waits for")
    table = Table(*columns, box=None, pad_edge=False)
    for each in proposal.settings:
        cells: list[Any] = [
            each.command,
            gigabytes(each.ar_peak),
            gigabytes(each.dit_peak),
            "yes" if each.fits else "no",
        ]
        cells += [seconds(each.load_s), seconds(each.tokens_s), seconds(each.picture_s), each.why]
        table.add_row(*cells, style="bold" if each.chosen else "")
    return table


def gigabytes(amount: float) -> str:
    """Bytes for people, in units of 10^9."""
    return f"{amount / 1e9:.2f} GB" if amount < 10e9 else f"{amount / 1e9:.1f} GB"


def seconds(amount: float) -> str:
    """A time for people: seconds, or minutes where those say more."""
    return f"{amount:.1f} s" if amount < 120 else f"{amount / 60:.0f} min"
