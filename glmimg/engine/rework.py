"""Work on dumps that needs stage 1: redraw part of one, score its tokens. The model is loaded once for many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glmimg.engine.local import LocalEngine
from glmimg.errors import BadDump
from glmimg.events import JobStarted, Saved
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.tokens.change import Reading, Redraw
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import write_dump


@dataclass(frozen=True)
class RedrawOrder:
    """A redraw and where the new dump goes; None keeps it off the disk. logprobs: also score its tokens."""

    redraw: Redraw
    dump_path: Path | None = None
    logprobs: bool = False


def redraw(engine: LocalEngine, orders: Sequence[RedrawOrder]) -> Iterator[tuple[RedrawOrder, TokenDump]]:
    """Redraw. Yields each new dump when it is on disk. Raises as `LocalEngine.write`."""
    with engine.open_ar() as stage:
        from glmimg.ar.rework import redraw_dump, score_dump

        for number, order in enumerate(orders, start=1):
            engine.watch(JobStarted("tokens", number, len(orders)))
            dump = redraw_dump(stage, order.redraw, engine.watch)
            if order.logprobs:
                dump = score_dump(stage, dump)
            if order.dump_path is not None:
                write_dump(dump, order.dump_path)
                engine.watch(Saved(order.dump_path))
            yield order, dump


def score(engine: LocalEngine, dump: TokenDump) -> TokenDump:
    """The dump with every token's log-probability under the engine's model. Raises as `LocalEngine.write`."""
    with engine.open_ar() as stage:
        from glmimg.ar.rework import score_dump

        return score_dump(stage, dump)


def read_picture(engine: LocalEngine, reading: Reading) -> TokenDump:
    """The dump of a picture's own codes. Raises as `LocalEngine.write`."""
    with engine.open_ar() as stage:
        from glmimg.ar import rework

        return rework.read_picture(stage, reading)


def check_same_ar_half(dump: TokenDump, name: str, checkpoint: Checkpoint) -> None:
    """Refuse to go on with a dump another AR half wrote: its codes mean something else.

    raises: BadDump (exit 3)
    """
    half = dump.model.fingerprint.partition("-")[0]
    if dump.model.codebook_size != checkpoint.codebook_size or half not in ("none", checkpoint.half_fingerprint("ar")):
        raise BadDump(
            name,
            f"was written by {dump.model.id}, whose AR half is another than that of {checkpoint.id}",
            f"Use the model that wrote it: --model {dump.model.id}",
        )
