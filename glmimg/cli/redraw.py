"""`glmimg redraw`: redraw part of a dump's tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.choice import Ideas, Keeping
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, only, takes
from glmimg.cli.streams import read_given
from glmimg.errors import UsageError
from glmimg.job import Job
from glmimg.request import layer_of

if TYPE_CHECKING:
    from glmimg.tokens.change import Redraw
    from glmimg.tokens.dump import TokenDump
    from glmimg.tokens.region import Region


@takes(
    a.DRAWN_ANEW,
    only(Ideas, "literal"),
    a.MOVED_SOURCES,
    a.ONE_AT_A_TIME,
    Keeping,
    a.DUMPS,
    a.REPAINTED,
)
def redraw(
    request: Request,
    dump: a.DumpFile,
    box: a.RedrawBox = None,
    mask: a.Mask = None,
    keep_from: a.KeepFrom = None,
    prompt: a.NewPrompt = None,
    count: a.Count = 1,
) -> None:
    """Redraw part of a dump's tokens.

    The other tokens are kept as context. Sampling settings are the dump's own unless options
    say otherwise.

    \b
    Examples:
      glmimg redraw x.tokens.json --box 0,0,128,128 --prompt "a green circle" -o y.tokens.json
    """
    from glmimg.cli.drawing import only_planned, place_dumps, report_dump, report_seeds
    from glmimg.cli.outputs import NameFields
    from glmimg.cli.run import Run
    from glmimg.engine.dumps import check_same_ar_half
    from glmimg.engine.scope import Scope
    from glmimg.tokens.dump_file import check_has_grid

    base = read_given(dump)
    check_has_grid(base, dump, "target")
    redraw_for = plan_redraw(base, dump, region_to_draw(base, box, mask), keep_from)
    run = Run.open(request, model=base.model, only="ar")
    check_same_ar_half(base, dump, run.checkpoint)
    run.shelf.find_all(base, dump)
    file = layer_of(*base.job_parts)
    file.pop("seed")  # redrawn with the old seed, the part would come out as it was
    jobs = run.jobs([prompt] if prompt is not None else [], count, base.scene.sources, file)
    paths = place_dumps(NameFields.of(jobs), run.output)
    if only_planned(run, jobs, paths, ("ar",), file):
        return
    report_seeds(jobs, run.console)
    with run.desk(Scope.of(jobs)) as desk:
        redraws = [(redraw_for(job), path) for job, path in zip(jobs, paths, strict=True)]
        for path, redrawn in zip(paths, desk.redraw(redraws), strict=True):
            report_dump(redrawn, path, run.console)


def region_to_draw(base: TokenDump, box: str | None, mask: Path | None) -> Region:
    """What --box or --mask select. Raises UsageError (exit 2), BadImage (exit 3)."""
    from glmimg.tokens.region import box_region, mask_region

    if (box is None) == (mask is None):
        what = "both say" if box else "neither of them says"
        raise UsageError(f"--box and --mask: {what} what to redraw", "Give one of them, such as --box 0,0,64,64.")
    return mask_region(mask, base.size, base.target.shape) if mask else box_region(box or "", base.size)


def plan_redraw(base: TokenDump, path: Path, region: Region, keep_from: Path | None) -> Callable[[Job], Redraw]:
    """Turn a job into its redraw; region and parents are checked here. Raises BadDump (exit 3)."""
    from glmimg.tokens import change
    from glmimg.tokens.region import count

    anew = tuple(region.cells(grid.shape) for grid in base.grids)
    kept, cells = tuple(base.grids), base.target.shape.cells - count(anew[-1])
    parents = [change.parent("base", path, cells, region.text)]
    if keep_from is not None:
        other = read_given(keep_from)
        change.check_same_codes(base, other, keep_from)
        change.check_same_shapes(base, other, keep_from)
        kept = tuple(other.grids)
        parents = [change.parent("base", path, 0, region.text), change.parent("kept", keep_from, cells)]
    return lambda job: change.Redraw(job, kept, anew, tuple(parents))
