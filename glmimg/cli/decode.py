"""`glmimg decode`: stage 2 alone, from token dumps to pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glmimg.cli import ar_options as a
from glmimg.cli import dump_options as d
from glmimg.cli import options as o
from glmimg.cli.console import Console

if TYPE_CHECKING:
    from glmimg.job import PaintSettings, Wish
    from glmimg.tokens.dump import TokenDump


def decode(
    dumps: Annotated[list[Path], typer.Argument(metavar="DUMP...", help="Token dumps to paint.", show_default=False)],
    out: o.Out = None,
    model: o.Model = None,
    revision: o.Revision = None,
    preset: o.Presets = None,
    dit_seed: o.DitSeed = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    vary: d.Vary = 1,
    drop: d.Drop = None,
    grid: a.PaintGrid = "target",
    guidance_window: o.GuidanceWindow = None,
    guidance_batch: o.GuidanceBatch = None,
    scheduler: o.Scheduler = None,
    cache: o.Cache = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    compile: a.Compile = None,
    memory: o.Memory = "auto",
    quantize: o.Quantize = "none",
    lora: o.Loras = None,
    any_model: o.AnyModel = False,
    elsewhere: o.Elsewhere = None,
    no_metadata: o.NoMetadata = False,
    json: o.Json = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Paint pictures from token dumps (stage 2 alone).

    The model is the one that wrote the first dump, unless --model says otherwise.

    Examples:

    glmimg decode x.tokens.json -o x.png

    glmimg decode x.tokens.json --vary 4 -o "x-{seed}.png"
    glmimg decode x.tokens.json --grid preview -o draft.png
    """
    from glmimg.cli.asking import check_grid_name
    from glmimg.cli.drawing import report_picture
    from glmimg.cli.outputs import STANDARD_OUTPUT, NameFields, check_outputs, name_outputs, split_suffix
    from glmimg.cli.progress import ProgressLine
    from glmimg.engine.local import LocalEngine, PaintOrder, check_fingerprint
    from glmimg.errors import UsageError
    from glmimg.job import ModelChoice, Wish
    from glmimg.preset import load_stack
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve
    from glmimg.sources import SourceShelf
    from glmimg.tokens.dump_file import check_fits_model, read_dump
    from glmimg.tokens.painting import check_has_grid

    console = Console(json=json, quiet=quiet, verbose=verbose)
    painted_grid = check_grid_name("--grid", grid)
    read = [read_dump(path) for path in dumps]
    for path, dump in zip(dumps, read, strict=True):
        check_has_grid(dump, path, painted_grid)
    flags = dict(
        dit_seed=dit_seed, steps=steps, guidance=guidance, guidance_window=guidance_window, scheduler=scheduler,
        cache=cache, guidance_batch=guidance_batch,
    )  # fmt: skip
    wish = Wish.of(flags).over(load_stack(preset or []).wish)
    choice = ModelChoice(
        model or read[0].model.id,
        revision or (None if model else read[0].model.revision),
        device,
        dtype,
        memory,
        quantize,
        tuple(lora or []),
        compile,
    )
    check_names(choice)
    checkpoint = resolve(choice.model, choice.revision)
    for path, dump in zip(dumps, read, strict=True):
        check_fits_model(dump, path, codebook_size=checkpoint.decoder_codebook_size)
        if not any_model:
            check_fingerprint(dump, str(path), checkpoint)
    shelf = SourceShelf(elsewhere or ())
    paintings = [
        (path, dump, settings)
        for path, dump in zip(dumps, read, strict=True)
        for settings in paint_variants(dump, wish, vary, drop)
    ]
    paths: list[Path | None]
    ending = ".png" if painted_grid == "target" else ".preview.png"
    if out == STANDARD_OUTPUT:
        if json or len(paintings) > 1:
            raise UsageError("--out - takes one picture, and no --json", "Write to files instead.")
        paths = [None]
    elif out is None:
        ends = ["" if vary == 1 else f"-{settings.seed}" for _, _, settings in paintings]
        stems = [path.with_name(split_suffix(path)[0]) for path, _, _ in paintings]
        paths = [stem.with_name(f"{stem.name}{end}{ending}") for stem, end in zip(stems, ends, strict=True)]
    else:
        names = [
            NameFields(dump.prompt, dump.seed if vary == 1 else settings.seed, index)
            for index, (_, dump, settings) in enumerate(paintings, start=1)
        ]
        paths = list(name_outputs(out, names, ".png"))
    check_outputs([path for path in paths if path], force=force)
    orders = [
        PaintOrder(dump, settings, path, str(name), painted_grid)
        for (name, dump, settings), path in zip(paintings, paths, strict=True)
    ]
    with ProgressLine(console) as progress:
        engine = LocalEngine(checkpoint, choice, metadata=not no_metadata, watch=progress, shelf=shelf)
        for painted in engine.paint(orders):
            report_picture(painted, Path(painted.order.name), console, metadata=not no_metadata)


def paint_variants(dump: TokenDump, wish: Wish, vary: int, drop: str | None) -> list[PaintSettings]:
    """How to paint a dump `vary` times: the same but for the decoder's seeds, which count on.

    drop:   a box `x0,y0,x1,y1` or a mask file: cells painted without their tokens
    raises: UsageError (exit 2) for a box outside the picture, BadImage (exit 3) for an unfit mask
    """
    from glmimg.job import DroppedCells, PaintSettings
    from glmimg.tokens.region import region_of

    first = dump.seed if wish.dit_seed is None else wish.dit_seed
    dropped = None
    if drop is not None:
        region = region_of(drop, (dump.height, dump.width), dump.target.shape)
        dropped = DroppedCells(region.said, region.cells(dump.target.shape))
    seeds = [(first + offset) % (1 << 63) for offset in range(vary)]
    settings = PaintSettings.of(wish, dump.seed)
    return [replace(settings, seed=seed, dropped=dropped) for seed in seeds]
