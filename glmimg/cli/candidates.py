"""`t2i --candidates`: many previews on one sheet, and the ones worth it finished."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.cli.console import Console
from glmimg.cli.drawing import Drawing, place_orders, report_picture
from glmimg.cli.progress import ProgressLine
from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.engine.local import LocalEngine, Order
    from glmimg.job import Job
    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.tokens.dump import TokenDump


def draw_candidates(jobs: Sequence[Job], pick: str | None, drawing: Drawing, console: Console) -> None:
    """Draw the preview of every job, paint them as drafts on one sheet, finish those picked.

    pick:   numbers from 1, as on the sheet; None asks on a terminal, and else leaves it at the sheet
    raises: UsageError (exit 2) for numbers that are not on the sheet; else as `LocalEngine.draw`
    """
    from glmimg.cli.outputs import check_outputs
    from glmimg.engine.contact_sheet import said_on

    destination = drawing.destination
    picked = None if pick is None else parse_picks(pick, len(jobs))
    if picked is not None:
        place_orders([jobs[number - 1] for number in picked], destination, json=console.json)
    sheet = sheet_path(destination.out, jobs[0])
    said = describe(jobs, drawing.checkpoint)
    previews: Sequence[TokenDump | None] = [None] * len(jobs)
    with ProgressLine(console) as progress:
        engine = drawing.engine(progress)
        if picked is not None and said_on(sheet) == said:
            console.note(f"{sheet} shows these candidates already")
        else:
            check_outputs([sheet], force=destination.force)
            previews = draw_sheet(jobs, engine, sheet, said)
            seeds = {number: job.seed for number, job in enumerate(jobs, start=1)}
            console.result(str(sheet), {"sheet": str(sheet), "candidates": seeds})
    if picked is None:
        picked = _ask(len(jobs), jobs[0].seed, console)
    chosen = [replace(order, begun=previews[number - 1]) for number, order in _orders(jobs, picked, drawing, console)]
    with ProgressLine(console) as progress:
        for order, painted in zip(chosen, drawing.engine(progress).draw(chosen), strict=True):
            report_picture(painted, order.dump_path, console, metadata=destination.metadata)


def draw_sheet(jobs: Sequence[Job], engine: LocalEngine, sheet: Path, said: str) -> list[TokenDump]:
    """Draw every preview, paint it, put the drafts on a sheet on disk. Returns the previews."""
    from glmimg.atomic import write_atomically
    from glmimg.engine.contact_sheet import contact_sheet
    from glmimg.engine.local import Order, PaintOrder

    previews = [written.dump for written in engine.write([Order(job, until="preview") for job in jobs])]
    orders = [
        PaintOrder(dump, job.drafting, name=f"candidate {number}", grid="preview")
        for number, (dump, job) in enumerate(zip(previews, jobs, strict=True), start=1)
    ]
    drafts = [painted.picture.image for painted in engine.paint(orders)]
    labels = [f"{number}   seed {job.seed}" for number, job in enumerate(jobs, start=1)]
    write_atomically(sheet, contact_sheet(drafts, labels, said))
    return previews


def parse_picks(text: str, count: int) -> list[int]:
    """Numbers of candidates, in the order said. Raises UsageError (exit 2) for any that is not on the sheet."""
    numbers = []
    for part in text.replace(" ", ",").split(","):
        if not part:
            continue
        if not part.isdecimal() or not 1 <= int(part) <= count:
            raise UsageError(f"--pick {part}: there is no such candidate", f"They are numbered from 1 to {count}.")
        if int(part) not in numbers:
            numbers.append(int(part))
    if not numbers:
        raise UsageError("--pick names no candidate", "For example --pick 3,7.")
    return numbers


def sheet_path(out: str | None, job: Job) -> Path:
    """Where the sheet goes: beside the pictures."""
    from glmimg.engine.naming import slug

    if out is not None and "{" not in out and not out.endswith("/") and not Path(out).is_dir():
        return Path(out).with_name(f"{Path(out).stem}-candidates.png")
    folder = Path(out or ".")
    folder = folder if out is None or out.endswith("/") or folder.is_dir() else folder.parent
    return folder / f"{slug(job.prompt)}-candidates.png"


def describe(jobs: Sequence[Job], checkpoint: Checkpoint) -> str:
    """What decides the previews of a sheet, as text to compare."""
    painting = {"dit_seed", "steps", "guidance"}
    fields = [job.model_dump(mode="json", exclude=painting) for job in jobs]
    return json.dumps({"jobs": fields, "model": checkpoint.fingerprint()}, ensure_ascii=True, sort_keys=True)


def _orders(jobs: Sequence[Job], picked: Sequence[int], drawing: Drawing, console: Console) -> list[tuple[int, Order]]:
    chosen = [jobs[number - 1] for number in picked]
    return (
        list(zip(picked, place_orders(chosen, drawing.destination, json=console.json), strict=True)) if picked else []
    )


def _ask(count: int, seed: int, console: Console) -> list[int]:
    """The candidates somebody at a terminal wants; none if nobody is there, after saying how to go on."""
    if not (sys.stdin.isatty() and console.err.is_terminal):
        console.note(f"finish some with the same command and: --seed {seed} --pick 1,2")
        return []
    answer = console.err.input(f"finish which of 1 to {count}? (numbers, or nothing) ")
    return parse_picks(answer, count) if answer.strip() else []
