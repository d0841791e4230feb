"""The work of `glmimg explore`: a contact sheet of drafts, a choice among them, and finishing those chosen."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from glmimg.cli.drawing import only_planned, place_orders, report_picture
from glmimg.cli.outputs import check_results, numbered_output, sheet_path
from glmimg.cli.run import Run
from glmimg.engine.contact_sheet import contact_sheet, description_on
from glmimg.engine.orders import Desk, Order, PaintOrder
from glmimg.engine.scope import Scope
from glmimg.errors import UsageError
from glmimg.grid import Role
from glmimg.job import Job
from glmimg.text import shell_words
from glmimg.tokens.dump import TokenDump


def draw_candidates(run: Run, jobs: Sequence[Job], pick: str | None) -> None:
    """Draw the preview of every job, paint the previews as drafts on one sheet, and finish the picked ones.

    pick:   numbers from 1, as on the sheet; None asks on a terminal and otherwise stops after the sheet
    raises: UsageError (exit 2) for numbers that are not on the sheet; else as `Desk.draw`
    """
    picked = None if pick is None else parse_picks(pick, len(jobs))
    place_picked(run, jobs, picked or [])
    sheet, description = sheet_path(run.output.out, jobs[0].scene.prompt, "candidates"), describe(jobs, run)
    dumps: Sequence[TokenDump | None] = [None] * len(jobs)
    if picked is not None and description_on(sheet) == description:
        run.console.note(f"{sheet} already shows these candidates")
    else:
        check_results([sheet], run.output)
        if only_planned(run, [job.model_copy(update={"painting": job.painting.draft}) for job in jobs], [sheet]):
            return
        with run.desk(Scope.of(jobs)) as desk:
            dumps = draw_sheet(jobs, desk, sheet, description)
        seeds = {number: job.sampling.seed for number, job in enumerate(jobs, start=1)}
        run.console.result(str(sheet), {"sheet": str(sheet), "candidates": seeds})
        run.console.picture(sheet)
    if picked is None:
        picked = ask_which(run, jobs)
    orders = [replace(order, begun=dumps[number - 1]) for number, order in place_picked(run, jobs, picked)]
    if orders:
        with run.desk(Scope.of([order.job for order in orders])) as desk:
            for order, painted in zip(orders, desk.draw(orders), strict=True):
                report_picture(painted, order.dump_path, run.console, metadata=desk.metadata)


def draw_sheet(jobs: Sequence[Job], desk: Desk, sheet: Path, description: str) -> list[TokenDump | None]:
    """Draw every candidate, paint it as a draft, and write the contact sheet.

    returns: the dumps to resume from; None for edits, which are drawn again from the start
    """
    edits = bool(jobs[0].scene.sources)
    grid: Role = "target" if edits else "preview"
    desk.files.take([sheet])
    written = [each.dump for each in desk.write([Order(job, until=grid) for job in jobs], then_paint=True)]
    drafts = [
        PaintOrder(dump, job.painting.draft, name=f"candidate {number}", grid=grid)
        for number, (dump, job) in enumerate(zip(written, jobs, strict=True), start=1)
    ]
    images = [painted.picture.image for painted in desk.paint(drafts)]
    labels = [f"{number}   seed {job.sampling.seed}" for number, job in enumerate(jobs, start=1)]
    desk.files.write(sheet, contact_sheet(images, labels, description))
    return [None if edits else dump for dump in written]


def place_picked(run: Run, jobs: Sequence[Job], picked: Sequence[int]) -> list[tuple[int, Order]]:
    """Each picked candidate and its order; it keeps its own number in the names of its files."""
    output = numbered_output(run.output)
    return [
        (number, order) for number in picked for order in place_orders([jobs[number - 1]], output, first_index=number)
    ]


def parse_picks(text: str, count: int) -> list[int]:
    """Numbers of candidates, in the order given. Raises UsageError (exit 2) for any that is not on the sheet."""
    numbers: list[int] = []
    for part in text.replace(",", " ").split():
        if not part.isdecimal() or not 1 <= int(part) <= count:
            raise UsageError(f"--pick {part}: there is no such candidate", f"They are numbered from 1 to {count}.")
        if int(part) not in numbers:
            numbers.append(int(part))
    if not numbers:
        raise UsageError("--pick names no candidate", "For example --pick 3,7.")
    return numbers


def describe(jobs: Sequence[Job], run: Run) -> str:
    """What decides the drafts of a sheet, as text to compare."""
    parts = [
        [job.scene.model_dump(mode="json", exclude={"forms"}), job.sampling.model_dump(mode="json")] for job in jobs
    ]
    return json.dumps({"jobs": parts, "model": run.checkpoint.fingerprint()}, ensure_ascii=True, sort_keys=True)


def ask_which(run: Run, jobs: Sequence[Job]) -> list[int]:
    """Ask on a terminal which candidates to finish; none elsewhere. Always prints how to continue later."""
    seed = jobs[0].sampling.seed
    command = [*sys.argv[1:], *([] if "seed" in run.request.flags else ["--seed", str(seed)])]
    run.console.note(
        f"seeds {seed} to {jobs[-1].sampling.seed}; finish some later: glmimg {shell_words(*command)} --pick 1,2"
    )
    if not (sys.stdin.isatty() and run.console.err.is_terminal):
        return []
    answer = run.console.err.input(f"finish which of 1 to {len(jobs)}? (numbers, or Enter for none) ")
    return parse_picks(answer, len(jobs)) if answer.strip() else []
