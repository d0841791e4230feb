"""What the commands that write dumps share: place them, write, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from glmimg.choice import Output
from glmimg.cli.console import Console
from glmimg.cli.drawing import only_planned, report_seeds
from glmimg.cli.outputs import NameFields, check_results, name_outputs
from glmimg.cli.run import Run
from glmimg.cli.streams import DASH
from glmimg.engine.orders import Order
from glmimg.engine.stages import Scope
from glmimg.errors import UsageError
from glmimg.request import Layer
from glmimg.tokens.dump import TokenDump


def write_orders(run: Run, orders: Sequence[Order], file: Layer | None = None) -> None:
    """Write the dump of every order and report each. Raises OutputError (exit 2), else as `Desk.write`.

    file: settings of the first dump that is resumed
    """
    jobs = [order.job for order in orders]
    paths = place_dumps(NameFields.of(jobs), run.output)
    if only_planned(run, jobs, paths, ("ar",), file):
        return
    report_seeds(jobs, run.console)
    placed = [replace(order, dump_path=path) for order, path in zip(orders, paths, strict=True)]
    with run.desk(Scope.of(jobs)) as desk:
        for written in desk.write(placed):
            report_dump(written.dump, written.order.dump_path, run.console)


def place_dumps(names: Sequence[NameFields], output: Output) -> list[Path | None]:
    """A path for each dump; None is standard output. Raises OutputError, UsageError (exit 2)."""
    if output.out == DASH:
        if output.as_json:
            raise UsageError("--out - already writes JSON to standard output", "Leave out --json.")
        return [None] * len(names)
    paths = name_outputs(output.out, names, ".tokens.json")
    check_results(paths, output)
    return list(paths)


def report_dump(dump: TokenDump, path: Path | None, console: Console) -> None:
    """The result line of a dump: its path, or all about it as JSON, or the dump itself."""
    if path is None:
        console.raw(dump.to_json().encode())
    else:
        console.result(str(path), dump_fields(dump, path))


def dump_fields(dump: TokenDump, path: Path) -> dict[str, Any]:
    """A dump as `--json` reports it."""
    return {
        "tokens": str(path),
        "prompt": dump.prompt,
        "size": str(dump.size),
        "seed": dump.seed,
        "grids": {grid.role: [grid.height, grid.width] for grid in dump.grids},
        "sources": [source.ref.model_dump() for source in dump.sources],
        "method": dump.sampling.method,
        "sampling": dump.sampling.model_dump(),
        "parents": [each.model_dump() for each in dump.parents],
        "model": dump.model.id,
        "fingerprint": dump.model.fingerprint,
        "stats": dump.stats.model_dump(),
    }


def check_grid_name(option: str, name: str) -> Literal["preview", "target"]:
    """The grid an option names. Raises UsageError (exit 2)."""
    if name == "preview":
        return "preview"
    if name == "target":
        return "target"
    raise UsageError(f"{option} {name}: there is no such grid", "Use preview or target.")
