"""Going on from a dump that stopped after its preview: which dumps may be, and the orders for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glmimg.engine.local import Order
from glmimg.engine.records import sampling_of
from glmimg.errors import BadDump
from glmimg.job import Job
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.tokens.dump import TokenDump


def check_begun(dump: TokenDump, path: Path) -> None:
    """Refuse a dump there is nothing to go on from, or nothing left to do. Raises BadDump (exit 3)."""
    if dump.has_target:
        raise BadDump(path, "already has its target grid", f"Paint it: glmimg decode {path}")


def resume_orders(begun: Sequence[TokenDump], paths: Sequence[Path], checkpoint: Checkpoint) -> list[Order]:
    """An order for each dump: its own job, from its preview on.

    raises: BadDump (exit 3) for a dump of another AR model, whose tokens would not go together
    """
    return [Order(job_of(dump, path, checkpoint), begun=dump) for dump, path in zip(begun, paths, strict=True)]


def job_of(dump: TokenDump, path: Path, checkpoint: Checkpoint) -> Job:
    """The job a dump was begun for; how it will be painted is not in it yet. Raises as `resume_orders`."""
    half = dump.model.fingerprint.partition("-")[0]
    if half != checkpoint.half_fingerprint("ar"):
        raise BadDump(
            path,
            f"was begun with {dump.model.id}, whose AR half has other weights than {checkpoint.id}",
            f"Go on with --model {dump.model.id}",
        )
    return Job(
        prompt=dump.prompt,
        height=dump.height,
        width=dump.width,
        seed=dump.seed,
        dit_seed=dump.seed,
        steps=1,
        guidance=1.0,
        sampling=sampling_of(dump),
    )
