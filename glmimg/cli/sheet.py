"""The contact sheet of pictures drawn together: swept values side by side, with labelled rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from glmimg.choice import Ideas
from glmimg.cli.outputs import sheet_path
from glmimg.cli.run import Run
from glmimg.cli.streams import DASH
from glmimg.ideas import parse_sweep
from glmimg.job import Job

if TYPE_CHECKING:
    from PIL.Image import Image

    from glmimg.engine.orders import Desk

LONGEST = 40
"""Characters of a prompt in a row's label."""


@dataclass
class Sheet:
    """A sheet that fills as its pictures are finished. swept: the swept knobs; the last one goes across."""

    run: Run
    jobs: Sequence[Job]
    swept: Sequence[str]
    path: Path
    thumbnails: list[Image] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run, jobs: Sequence[Job]) -> Self | None:
        """The sheet for these jobs, if one is requested. Raises UsageError (exit 2)."""
        asked, out = run.request.settings(Ideas), run.output.out
        if out == DASH or not (bool(asked.sweep) if asked.sheet is None else asked.sheet):
            return None
        path = sheet_path(out, jobs[0].scene.prompt, "sheet")
        return cls(run, jobs, [parse_sweep(text)[0][0] for text in asked.sweep], path)

    def add(self, picture: Image) -> None:
        """Add the next finished picture."""
        from glmimg.engine.contact_sheet import thumbnail_of

        self.thumbnails.append(thumbnail_of(picture))

    def write(self, desk: Desk) -> None:
        """Write the sheet and report its path. Raises OutputError (exit 2), WriteError (exit 1)."""
        from glmimg.engine.contact_sheet import contact_sheet

        varying = [name for name in ("prompt", *self.swept, "seed") if len({job.value(name) for job in self.jobs}) > 1]
        across = self.swept[-1] if self.swept else "seed" if "prompt" in varying else ""
        down = [name for name in varying if name != across]
        rows: dict[tuple[Any, ...], list[int]] = {}
        for number, job in enumerate(self.jobs):
            rows.setdefault(tuple(job.value(name) for name in down), []).append(number)
        order = [number for row in rows.values() for number in row]
        names: tuple[list[str], list[str]] = [], []
        if across:
            names[0].extend(", ".join(named(self.jobs[row[0]], name) for name in down) for row in rows.values())
            names[1].extend(named(self.jobs[number], across) for number in order[: len(order) // len(rows)])
        labels = [f"seed {self.jobs[number].sampling.seed}" for number in order]
        desk.files.take([self.path])
        desk.files.write(self.path, contact_sheet([self.thumbnails[each] for each in order], labels, names=names))
        self.run.console.result(str(self.path), {"sheet": str(self.path)})
        self.run.console.picture(self.path)


def named(job: Job, name: str) -> str:
    """The same as a row or a column is called."""
    text = str(job.value(name))
    return f"{name} {text}" if name != "prompt" else text if len(text) <= LONGEST else text[:LONGEST] + "..."
