"""`glmimg t2i --prompts -`: draws each prompt as it arrives, and answers with a line of JSON at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from glmimg.choice import Output
from glmimg.cli.console import Console
from glmimg.cli.drawing import only_planned, picture_fields, place_orders
from glmimg.cli.outputs import numbered_output
from glmimg.cli.run import Run
from glmimg.cli.streams import DASH
from glmimg.engine.memory import check_extras
from glmimg.engine.scope import Scope
from glmimg.errors import BadPrompts, GlmimgError, Interrupted, JobsFailed, ModelError, UsageError
from glmimg.job import Job
from glmimg.text import counted

MAX_LINE_BYTES = 1 << 20


def draw_as_they_come(run: Run, first: Sequence[str], count: int) -> None:
    """Answer `first` and then every line of standard input until it ends.

    raises: JobsFailed (exit 1) at the end if a prompt could not be drawn; ModelError (exit 4) at the first one
    """
    if run.output.preview_out is not None:
        raise UsageError("--preview-out cannot be used with --prompts -", "Draw them one by one.")
    output = _output(run)
    expected = run.jobs(first or ["yet to come"], count)
    if only_planned(run, expected, []):
        return
    check_extras(job.painting for job in expected)
    scope = Scope.of(expected)
    run.stages.check("ar", "dit")
    console = Console(json=True, quiet=run.output.quiet)
    failed = 0
    with run.desk(scope, keep_both=run.stages.both_fit(scope)) as desk:
        lines: Iterator[str | bytes] = chain(first, _lines(sys.stdin.buffer))
        next_index = 1
        for line in lines:
            jobs: Sequence[Job] = ()
            try:
                jobs = run.jobs([_prompt(line)], count)
                for index, job in enumerate(jobs, start=next_index):
                    (order,) = place_orders([job], output, first_index=index)
                    (painted,) = desk.draw([order])
                    console.result("", picture_fields(painted, order.picture_path or Path(), order.dump_path))
            except (ModelError, Interrupted):
                raise
            except GlmimgError as error:
                failed += 1
                text = line if isinstance(line, str) else line[:200].decode(errors="replace").strip()
                console.result("", {"prompt": text, "error": error.message, "hint": error.hint})
            next_index += len(jobs) or count
    if failed:
        raise JobsFailed(f"{counted(failed, 'prompt')} could not be drawn", "Their answers say why.")


def _output(run: Run) -> Output:
    """Output names numbered over all prompts. Raises UsageError (exit 2)."""
    output = run.output
    if output.out == DASH:
        raise UsageError("--out - cannot be used with --prompts -", "Standard output carries the answers.")
    return numbered_output(output)


def _prompt(line: str | bytes) -> str:
    """Raises BadPrompts (exit 3)."""
    if isinstance(line, str):
        return line
    if len(line) > MAX_LINE_BYTES:
        raise BadPrompts("standard input", f"a line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        return line.decode().strip()
    except UnicodeDecodeError as error:
        raise BadPrompts("standard input", "a line is not UTF-8 text") from error


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Each non-empty line as soon as it arrives; of a line that is too long, only its beginning."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(line) > MAX_LINE_BYTES and rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        if line.strip():
            yield line
