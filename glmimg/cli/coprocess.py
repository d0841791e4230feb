"""`glmimg t2i --prompts -`: draws each prompt as it arrives, answers with a JSON line at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from glmimg.cli.console import Console
from glmimg.cli.progress import ProgressLine
from glmimg.errors import BadPrompts, GlmimgError, Interrupted, JobsFailed, ModelError, UsageError

if TYPE_CHECKING:
    from glmimg.cli.drawing import Destination
    from glmimg.engine.batch.stages import Stages
    from glmimg.engine.local import Order
    from glmimg.job import Job

MAX_LINE_BYTES = 1 << 20


def draw_as_they_come(
    build: Callable[[str], Sequence[Job]], first: Sequence[str], stages: Stages, destination: Destination, quiet: bool
) -> None:
    """Answer `first` and then every line of standard input until it ends.

    build:  the jobs of a prompt
    raises: JobsFailed (exit 1) at the end if a prompt could not be drawn; ModelError (exit 4) at the first one
    """
    from glmimg.cli.drawing import picture_fields
    from glmimg.engine.live import LiveEngine

    console = Console(json=True, quiet=quiet)
    placer = _Placer(destination)
    failed = 0
    with (
        ProgressLine(console) as progress,
        LiveEngine(stages, progress, metadata=destination.metadata) as engine,
    ):
        lines: Iterator[str | bytes] = chain(first, _lines(sys.stdin.buffer))
        for line in lines:
            try:
                for job in build(_prompt(line)):
                    order = placer.place(job)
                    painted = engine.draw(order)
                    console.result("", picture_fields(painted, order.picture_path or Path(), order.dump_path))
            except (ModelError, Interrupted):
                raise
            except GlmimgError as error:
                failed += 1
                text = line if isinstance(line, str) else line[:200].decode(errors="replace").strip()
                console.result("", {"prompt": text, "error": error.message, "hint": error.hint})
    if failed:
        raise JobsFailed(f"{failed} prompts could not be drawn", "Their answers say why.")


class _Placer:
    """Gives each job its paths, counting `{index}` on over all prompts."""

    def __init__(self, destination: Destination) -> None:
        from glmimg.cli.outputs import STANDARD_OUTPUT, numbered

        if destination.out == STANDARD_OUTPUT:
            raise UsageError("--out - does not go with --prompts -", "Standard output has the answers.")
        self.index = 0
        self.destination = replace(
            destination, out=numbered(destination.out), tokens_out=numbered(destination.tokens_out)
        )

    def place(self, job: Job) -> Order:
        """Raises OutputError (exit 2)."""
        from glmimg.cli.drawing import place_orders

        self.index += 1
        return place_orders([job], self.destination, json=False, first_index=self.index)[0]


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
    """Each non-empty line as soon as it is there; of one that is too long, the beginning."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(line) > MAX_LINE_BYTES and rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES)
        if line.strip():
            yield line
