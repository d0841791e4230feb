"""What `tokens` does with a dump that is there: redraw a part of it, or paste into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.cli.console import Console
from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.job import ModelChoice
    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.tokens.dump import TokenDump


@dataclass(frozen=True)
class Rework:
    """What was said about changing a dump, as the command line has it."""

    redraw: str | None = None
    mask: Path | None = None
    keep_from: Path | None = None
    prompt: str | None = None
    paste: Path | None = None
    box: str | None = None
    at: str | None = None
    from_image: Path | None = None

    @property
    def asked(self) -> bool:
        return self.redraws or self.paste is not None or self.from_image is not None

    @property
    def redraws(self) -> bool:
        return self.redraw is not None or self.mask is not None

    def check(self, *, size: str | None) -> None:
        """Refuse options that go together with nothing. Raises UsageError (exit 2)."""
        if self.redraw is not None and self.mask is not None:
            raise UsageError("--redraw and --mask both say what to draw anew", "Say one of them.")
        if self.redraws and self.paste is not None:
            raise UsageError("--paste copies tokens, --redraw and --mask draw them", "Do one after the other.")
        if self.from_image is not None and (self.redraws or self.paste is not None):
            raise UsageError("--from-image makes a dump, it does not change one", "Do one after the other.")
        if not self.redraws and (self.keep_from is not None or self.prompt is not None):
            name = "--keep-from" if self.keep_from is not None else "--prompt"
            raise UsageError(
                f"{name} belongs to a redraw", "Say what to draw anew: --redraw x0,y0,x1,y1 or --mask PNG."
            )
        if self.paste is None and (self.box is not None or self.at is not None):
            raise UsageError("--box and --at belong to --paste", "Say which dump to paste from.")
        if size is not None and (self.redraws or self.paste is not None):
            raise UsageError("--size cannot be changed with part of a dump", "Leave it out.")


@dataclass(frozen=True)
class Output:
    """Where changed dumps go."""

    out: str | None
    force: bool
    logprobs: bool = False


@dataclass(frozen=True)
class Drawing:
    """How to draw what is drawn anew.

    flags: seed, temperature and top_p as the command line said them
    count: so many dumps, with seeds seed, seed + 1, ...
    """

    flags: Mapping[str, Any]
    presets: Sequence[str]
    count: int
    choice: ModelChoice
    size: str | None = None


def rework(names: Sequence[str], asked: Rework, drawing: Drawing, output: Output, console: Console) -> None:
    """Change one dump as asked, and report each new one.

    raises: UsageError (exit 2), BadDump and BadImage (exit 3), before anything loads; then as `LocalEngine.write`
    """
    from glmimg.tokens.dump_file import read_dump
    from glmimg.tokens.painting import check_has_grid

    if asked.from_image is not None:
        _from_image(names, asked.from_image, drawing, output, console)
        return
    if len(names) != 1:
        raise UsageError("a change takes one dump", "For example: glmimg tokens --redraw 0,0,64,64 x.tokens.json")
    path = Path(names[0])
    base = read_dump(path)
    check_has_grid(base, path, "target")
    if asked.paste is not None:
        _paste(base, path, asked, output, console)
    else:
        _redraw(base, path, asked, drawing, output, console)


def _paste(base: TokenDump, path: Path, asked: Rework, output: Output, console: Console) -> None:
    from glmimg.cli.outputs import NameFields
    from glmimg.tokens import change
    from glmimg.tokens.dump_file import read_dump, write_dump
    from glmimg.tokens.painting import check_has_grid
    from glmimg.tokens.region import Box, box_region, parse_point

    assert asked.paste is not None
    given = read_dump(asked.paste)
    check_has_grid(given, asked.paste, "target")
    change.check_same_codes(base, given, asked.paste)
    whole = Box(0, 0, given.width, given.height)
    box = whole if asked.box is None else box_region(asked.box, (given.height, given.width)).box or whole
    at = (box.left, box.top) if asked.at is None else parse_point(asked.at)
    pasted = change.paste(base, given, box, at, [])
    cells = change.pasted_cells(box)
    parents = [
        change.parent("base", path, base.target.shape.cells - cells),
        change.parent("pasted", asked.paste, cells, f"{box} at {at[0]},{at[1]}"),
    ]
    dump = pasted.model_copy(update={"parents": parents})
    (target,) = _places([NameFields(dump.prompt, dump.seed, 1)], output, json=console.json)
    if target is not None:
        write_dump(dump, target)
    _report(dump, target, console)


def _redraw(base: TokenDump, path: Path, asked: Rework, drawing: Drawing, output: Output, console: Console) -> None:
    from glmimg.cli.asking import build_jobs
    from glmimg.cli.drawing import report_seeds
    from glmimg.cli.outputs import NameFields
    from glmimg.cli.progress import ProgressLine
    from glmimg.engine.local import LocalEngine
    from glmimg.engine.rework import RedrawOrder, check_same_ar_half, redraw
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    check_names(drawing.choice)
    wish = _wish(base, asked, drawing)
    parts = _parts(base, path, asked)
    checkpoint: Checkpoint = resolve(drawing.choice.model or base.model.id, drawing.choice.revision)
    check_same_ar_half(base, str(path), checkpoint)
    jobs = build_jobs([wish], checkpoint, drawing.count)
    paths = _places(NameFields.of(jobs), output, json=console.json)
    report_seeds(jobs, console)
    orders = [RedrawOrder(parts(job), target, output.logprobs) for job, target in zip(jobs, paths, strict=True)]
    with ProgressLine(console) as progress:
        for order, dump in redraw(LocalEngine(checkpoint, drawing.choice, watch=progress), orders):
            _report(dump, order.dump_path, console)


def _from_image(prompts: Sequence[str], picture: Path, drawing: Drawing, output: Output, console: Console) -> None:
    from glmimg.cli.outputs import NameFields, dump_path_beside
    from glmimg.cli.progress import ProgressLine
    from glmimg.engine import rework
    from glmimg.engine.local import LocalEngine
    from glmimg.grid import CELL_PX
    from glmimg.image_io import read_rgb
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve
    from glmimg.tokens import change
    from glmimg.tokens.dump_file import write_dump

    if len(prompts) > 1 or drawing.count > 1:
        raise UsageError("--from-image makes one dump", "Give one prompt or none, and no --count.")
    check_names(drawing.choice)
    image = read_rgb(picture)
    height, width = _picture_size(image.height, image.width, drawing.size)
    cells = height * width // CELL_PX**2
    prompt, seed = (prompts[0] if prompts else ""), drawing.flags.get("seed") or 0
    reading = change.Reading(image, height, width, prompt, seed, change.parent("picture", picture, cells))
    checkpoint = resolve(drawing.choice.model or None, drawing.choice.revision)
    out = output.out if output.out is not None else dump_path_beside(picture)
    (target,) = _places([NameFields(prompt, seed, 1)], replace(output, out=str(out)), json=console.json)
    with ProgressLine(console) as progress:
        dump = rework.read_picture(LocalEngine(checkpoint, drawing.choice, watch=progress), reading)
    if target is not None:
        write_dump(dump, target)
    _report(dump, target, console)


def _picture_size(height: int, width: int, size: str | None) -> tuple[int, int]:
    """(height, width) of the dump: as said, else the picture's, to the nearest multiples of 32."""
    from glmimg.grid import nearest_side, preview_shape, target_shape
    from glmimg.job import parse_size

    if size is not None:
        height, width = parse_size(size)
    height, width = nearest_side(height), nearest_side(width)
    preview_shape(target_shape(height, width))
    return height, width


def _wish(base: TokenDump, asked: Rework, drawing: Drawing) -> Any:
    """What to draw: as said, else as the presets say, else as the dump was drawn."""
    from glmimg.job import Wish
    from glmimg.preset import load_stack

    stack = load_stack(drawing.presets)
    below = Wish(temperature=base.sampling.temperature, top_p=base.sampling.top_p)
    wish = Wish.of(drawing.flags).over(stack.wish).over(below)
    prompt = base.prompt if asked.prompt is None else stack.fill(asked.prompt)
    return wish.model_copy(update={"prompt": prompt, "size": f"{base.width}x{base.height}"})


def _parts(base: TokenDump, path: Path, asked: Rework) -> Any:
    """A function from a job to its redraw; every check of region and parents is made here."""
    from glmimg.tokens import change, region
    from glmimg.tokens.dump_file import read_dump

    if base.sources:
        raise UsageError(f"{path} is of an edit; only dumps without sources can be redrawn")
    size, shape = (base.height, base.width), base.target.shape
    if asked.mask is not None:
        chosen = region.mask_region(asked.mask, size, shape)
    else:
        chosen = region.box_region(asked.redraw or "", size)
    anew = tuple(chosen.cells(grid.shape) for grid in base.grids)
    kept, cells = tuple(base.grids), base.target.shape.cells - region.count(anew[-1])
    parents = [change.parent("base", path, cells, chosen.said)]
    if asked.keep_from is not None:
        other = read_dump(asked.keep_from)
        change.check_same_codes(base, other, asked.keep_from)
        kept = change.merge_kept(base.grids, other.grids, asked.keep_from)
        parents = [change.parent("base", path, 0, chosen.said), change.parent("kept", asked.keep_from, cells)]
    return lambda job: change.Redraw(job, kept, anew, tuple(parents))


def _places(names: Sequence[Any], output: Output, *, json: bool) -> list[Path | None]:
    """A path for each dump; None is standard output. Raises OutputError, UsageError (exit 2)."""
    from glmimg.cli import outputs

    if output.out == outputs.STANDARD_OUTPUT:
        if json or len(names) > 1:
            raise UsageError("--out - takes one dump, and no --json", "Write to files instead.")
        return [None]
    paths = outputs.name_outputs(output.out, names, ".tokens.json")
    outputs.check_outputs(paths, force=output.force)
    return list(paths)


def _report(dump: TokenDump, path: Path | None, console: Console) -> None:
    if path is None:
        console.raw(dump.to_json().encode())
        return
    fields = {
        "tokens": str(path),
        "prompt": dump.prompt,
        "size": f"{dump.width}x{dump.height}",
        "seed": dump.seed,
        "method": dump.sampling.method,
        "parents": [each.model_dump() for each in dump.parents],
        "model": dump.model.id,
        "fingerprint": dump.model.fingerprint,
        "stats": dump.stats.model_dump(),
    }
    console.result(str(path), fields)
