"""`glmimg resume`: finish dumps that stopped at their preview, and interrupted work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.choice import Keeping, ModelChoice
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes, without
from glmimg.job import Painting

if TYPE_CHECKING:
    from glmimg.tokens.dump import TokenDump


@takes(ModelChoice, Keeping, a.DUMPS, without(Painting, rare=True))
def resume(request: Request, dumps: a.DumpFiles) -> None:
    """Continue dumps that stopped at their preview, and interrupted work.

    Each dump continues with its own prompt, seed and sampling, so its tokens are the same as
    without stopping. The .part files of an interrupted or killed command are completed as well.

    \b
    Examples:
      glmimg resume x.tokens.json -o whole.tokens.json
      glmimg resume x.png.part
    """
    from glmimg.unfinished import is_unfinished, read_unfinished

    left = [path for path in dumps if is_unfinished(path)]
    if left:
        from glmimg.cli.unfinished import finish
        from glmimg.errors import UsageError

        if len(left) < len(dumps):
            raise UsageError("dumps and unfinished work cannot be resumed together", "Name only one kind.")
        finish(request, {path: read_unfinished(path) for path in left})
        return
    from glmimg.cli.run import Run
    from glmimg.cli.streams import read_given
    from glmimg.cli.writing import write_orders
    from glmimg.engine.complete import complete_painting
    from glmimg.engine.dumps import check_same_ar_half
    from glmimg.engine.orders import Order
    from glmimg.request import layer_of

    begun = [read_given(path) for path in dumps]
    for path, dump in zip(dumps, begun, strict=True):
        check_begun(dump, path)
    run = Run.open(request, model=begun[0].model)
    orders = []
    for path, dump in zip(dumps, begun, strict=True):
        check_same_ar_half(dump, path, run.checkpoint)
        painting = complete_painting(request.job(file=layer_of(*dump.job_parts)), dump.seed, dump.size)
        orders.append(Order(dump.job(painting), begun=dump))
    write_orders(run, orders, layer_of(*begun[0].job_parts))


def check_begun(dump: TokenDump, path: Path) -> None:
    """Refuse a dump that is already finished. Raises BadDump (exit 3)."""
    from glmimg.errors import BadDump
    from glmimg.text import shell_words

    if dump.has_target:
        raise BadDump(path, "already has its target grid", f"Paint it: glmimg decode {shell_words(path)}")
