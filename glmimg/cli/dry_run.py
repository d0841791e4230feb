"""`--dry-run`: what a command would draw, where each value came from, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from glmimg.choice import Ideas, ModelChoice
from glmimg.cli.planning import seconds as time_text
from glmimg.cli.run import Run
from glmimg.engine.expect import expect
from glmimg.engine.scope import Scope
from glmimg.ideas import parse_sweep
from glmimg.job import Job, Scene
from glmimg.knob import knobs
from glmimg.request import JOB, Layer
from glmimg.runtime.checkpoint import HALVES, Half
from glmimg.settings_file import plain
from glmimg.stencil import DroppedCells, Stencil

if TYPE_CHECKING:
    from rich.table import Table

WHAT: dict[Half, str] = {"ar": "tokens", "dit": "pictures"}
SHOWN = 8
"""How many values of a knob are shown if jobs differ in it."""


def show_plan(
    run: Run,
    jobs: Sequence[Job],
    files: Sequence[Path | None],
    halves: Sequence[Half],
    file: Layer | None,
) -> None:
    """Show what would be drawn by which stages. A file that is None is standard output.

    file:   what the picture or dump says that the command starts from
    raises: ModelUnfit (exit 4), OutOfMemory (exit 5), as drawing would
    """
    run.own_stages.check(*halves)
    needs = expect(run.own_stages, Scope.of(jobs))
    memory = {half: int(each) for half, each in zip(HALVES, (needs.tokens, needs.painter), strict=True)}
    seconds = {half: each * len(jobs) for half, each in zip(HALVES, needs.seconds, strict=True)}
    settings, names = settings_of(run, jobs, file), [str(path or "standard output") for path in files]
    if run.console.json:
        fields: dict[str, float] = {
            "memory_bytes": max(memory[half] for half in halves),
            "memory_free_bytes": int(needs.free),
        }
        fields |= {"seconds": round(sum(seconds[half] for half in halves), 1)}
        records = [job.model_dump(mode="json") for job in jobs]
        run.console.result("", {"event": "dry-run", "jobs": records, "settings": settings, "files": names, **fields})
        return
    run.console.show(settings_table(jobs, settings))
    for name in names:
        run.console.result(f"writes   {name}", {})
    stages = {half: f"{decimal(memory[half])} and {time_text(seconds[half])} for {WHAT[half]}" for half in halves}
    run.console.result(
        f"takes    about {', '.join(stages.values())}; {decimal(int(needs.free))} free on {needs.device}", {}
    )


def settings_of(run: Run, jobs: Sequence[Job], file: Layer | None) -> dict[str, dict[str, Any]]:
    """Each knob's value, or values if the jobs differ, and where it came from."""
    origins = run.request.origins((*JOB, ModelChoice), file)
    origins |= {parse_sweep(text)[0][0]: "--sweep" for text in run.request.settings(Ideas).sweep}
    found: dict[str, dict[str, Any]] = {}
    for model in (*JOB, ModelChoice):
        default_size = "the source" if model is Scene and jobs[0].scene.sources else "the checkpoint"
        unsaid = {"random": "random", "the model's": default_size, "--seed": "--seed"}
        for each in knobs(model):
            said = [getattr(run.choice, each.name)] if model is ModelChoice else [job.value(each.name) for job in jobs]
            values = list(dict.fromkeys(said))
            shown = [value.region if isinstance(value, DroppedCells | Stencil) else plain(value) for value in values]
            origin = origins.get(each.name) or unsaid.get(each.knob.default or "", "the default")
            found[each.name] = {"value": shown[0] if len(shown) == 1 else shown, "from": origin}
    found["model"]["value"] = run.checkpoint.id
    return found


def settings_table(jobs: Sequence[Job], settings: dict[str, dict[str, Any]]) -> Table:
    """The prompts, and every knob that is set."""
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for prompt in list(dict.fromkeys(job.scene.prompt for job in jobs))[:SHOWN]:
        table.add_row("prompt", prompt, "")
    for name, each in settings.items():
        values = each["value"] if isinstance(each["value"], list) else [each["value"]]
        if values not in ([None], [False], [""], []):
            more = ", ..." if len(values) > SHOWN else ""
            table.add_row(name, ", ".join(str(value) for value in values[:SHOWN]) + more, each["from"])
    return table
