"""Options of how stage 1 draws: method, batches, previews. As in `options`, each is written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glmimg.cli.options import DRAW, MODEL, OUTPUT

ARMethod = Annotated[
    str | None,
    typer.Option(
        "--ar-method",
        metavar="METHOD",
        envvar="GLMIMG_AR_METHOD",
        help="How tokens are drawn: sequential, or jacobi: several a forward pass, by the same law. "
        "[default: sequential]",
        rich_help_panel=DRAW,
    ),
]
ARWindow = Annotated[
    int | None,
    typer.Option(
        "--ar-window",
        metavar="N",
        min=1,
        help="Tokens jacobi drafts a pass at most; it takes fewer by itself.",
        rich_help_panel=DRAW,
    ),
]
ARBatch = Annotated[
    str,
    typer.Option(
        "--ar-batch",
        metavar="N",
        envvar="GLMIMG_AR_BATCH",
        help="Token grids drawn at once: auto (what memory holds), or a number. Changes no token on the CPU.",
        rich_help_panel=MODEL,
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the passes of both halves: pays after some pictures, rounds otherwise. On CUDA also graphs of "
        "them; --no-compile gives up those of stage 1 too.",
        rich_help_panel=MODEL,
    ),
]
Until = Annotated[
    str,
    typer.Option("--until", metavar="GRID", help="Stop after this grid: preview or target.", rich_help_panel=DRAW),
]
Resume = Annotated[
    list[Path] | None,
    typer.Option(
        "--resume",
        metavar="DUMP",
        help="Go on from a dump made with --until preview; repeatable, takes no prompt.",
        rich_help_panel=DRAW,
    ),
]
PaintGrid = Annotated[
    str,
    typer.Option("--grid", metavar="GRID", help="Grid to paint: target, or preview, a draft.", rich_help_panel=DRAW),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        metavar="N",
        min=2,
        max=1024,
        help="Draw N previews, paint them as drafts on one contact sheet, finish those picked.",
        rich_help_panel=DRAW,
    ),
]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        metavar="N,N,...",
        help="Candidates to finish, numbered from 1 as on the sheet. [default: asks on a terminal]",
        rich_help_panel=DRAW,
    ),
]
PreviewOut = Annotated[
    str | None,
    typer.Option(
        "--preview-out",
        metavar="PATH",
        help="Paint the preview as a draft while the target is still being written; holds both halves in memory.",
        rich_help_panel=OUTPUT,
    ),
]
