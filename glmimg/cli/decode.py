"""`glmimg decode`: stage 2 alone, from token dumps to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.choice import Keeping
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes
from glmimg.cli.streams import DASH, read_given
from glmimg.grid import Role
from glmimg.job import MAX_SEED, Painting
from glmimg.request import layer_of

if TYPE_CHECKING:
    from glmimg.cli.run import Run
    from glmimg.engine.orders import PaintOrder
    from glmimg.tokens.dump import TokenDump


@takes(Painting, a.MOVED_SOURCES, a.ONE_AT_A_TIME, Keeping, a.PICTURES)
def decode(
    request: Request, dumps: a.DumpFiles, vary: a.Vary = 1, grid: a.PaintGrid = "target", any_model: a.AnyModel = False
) -> None:
    """Paint pictures from token dumps (stage 2 alone).

    A dump is painted as it records, unless options or presets say otherwise. A glmimg picture
    carries the dump it was painted from, so it can be given in place of a dump.

    \b
    Examples:
      glmimg decode x.tokens.json -o x.png
      glmimg decode x.tokens.json --vary 4 -o "x-{seed}.png"
      glmimg decode x.tokens.json --grid preview -o draft.png
      glmimg decode x.png --steps 80 -o better.png
    """
    from glmimg.cli.drawing import check_grid_name
    from glmimg.cli.run import Run
    from glmimg.engine.dumps import check_fingerprint
    from glmimg.tokens.dump_file import check_fits_model, check_has_grid

    painted_grid = check_grid_name("--grid", grid)
    read = [(path, read_given(path)) for path in dumps]
    for path, dump in read:
        check_has_grid(dump, path, painted_grid)
    run = Run.open(request, model=read[0][1].model, only="dit")
    for path, dump in read:
        check_fits_model(dump, path, codebook_size=run.checkpoint.decoder_codebook_size)
        if not any_model:
            check_fingerprint(dump, path, run.checkpoint)
    paint_dumps(run, read, vary, painted_grid)


def paint_dumps(run: Run, read: Sequence[tuple[Path, TokenDump]], vary: int = 1, grid: Role = "target") -> None:
    """Paint dumps, or the dumps inside pictures, and report each picture. Raises as `place_pictures`, `Desk.paint`."""
    from glmimg.cli.drawing import only_planned, report_picture
    from glmimg.engine.scope import Scope

    paintings = [(path, dump, each) for path, dump in read for each in variants(run.request, dump, vary)]
    orders = place_pictures(run, paintings, vary, grid)
    jobs = [order.dump.job(order.painting) for order in orders]
    if only_planned(run, jobs, [order.picture_path for order in orders], ("dit",), layer_of(*read[0][1].job_parts)):
        return
    with run.desk(Scope.of(jobs)) as desk:
        for painted in desk.paint(orders):
            report_picture(painted, Path(painted.order.name), run.console, metadata=desk.metadata)


def variants(request: Request, dump: TokenDump, count: int) -> list[Painting]:
    """How to paint a dump `count` times: the same except for the stage 2 seeds, which count up.

    raises: UsageError (exit 2) for a box outside the picture, BadImage (exit 3) for an unfit mask
    """
    from glmimg.engine.complete import complete_painting

    first = complete_painting(request.job(file=layer_of(*dump.job_parts)), dump.seed, dump.size, dump.sources)
    return [
        first.model_copy(update={"dit_seed": (first.dit_seed + offset) % (MAX_SEED + 1)}) for offset in range(count)
    ]


def place_pictures(
    run: Run, paintings: Sequence[tuple[Path, TokenDump, Painting]], vary: int, grid: Role
) -> list[PaintOrder]:
    """An order for each painting; without --out the picture goes beside its dump. Raises OutputError (exit 2)."""
    from glmimg.cli.outputs import (
        NameFields,
        check_results,
        check_standard_output,
        name_outputs,
        split_suffix,
    )
    from glmimg.engine.orders import PaintOrder

    output = run.output
    paths: list[Path | None]
    if output.out == DASH:
        check_standard_output(output, len(paintings))
        paths = [None]
    elif output.out is None and DASH not in {str(path) for path, *_ in paintings}:
        ending = ".png" if grid == "target" else ".preview.png"
        ends = [ending if vary == 1 else f"-{painting.dit_seed}{ending}" for _, _, painting in paintings]
        paths = [path.with_name(split_suffix(path)[0] + end) for (path, _, _), end in zip(paintings, ends, strict=True)]
    else:
        names = [
            NameFields(dump.prompt, dump.seed if vary == 1 else painting.dit_seed, index)
            for index, (_, dump, painting) in enumerate(paintings, start=1)
        ]
        paths = list(name_outputs(output.out, names, ".png"))
    check_results([path for path in paths if path], output)
    return [
        PaintOrder(dump, painting, path, str(name), grid)
        for (name, dump, painting), path in zip(paintings, paths, strict=True)
    ]
