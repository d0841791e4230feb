"""Whether a dump matches the checkpoint that is to process it."""

from __future__ import annotations

from pathlib import Path

from glmimg.errors import BadDump
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.tokens.dump import TokenDump


def check_fingerprint(dump: TokenDump, name: Path | str, checkpoint: Checkpoint) -> None:
    """Refuse a dump that other decoder weights were meant for. Raises BadDump (exit 3)."""
    half = dump.model.fingerprint.rpartition("-")[2]
    if half not in ("none", checkpoint.half_fingerprint("dit")):
        raise BadDump(
            name,
            f"was written for {dump.model.id}, whose decoder weights differ from those of {checkpoint.id}",
            f"Use --model {dump.model.id}, or --any-model to paint it with these weights anyway.",
        )


def check_same_ar_half(dump: TokenDump, name: Path | str, checkpoint: Checkpoint) -> None:
    """Refuse to go on with a dump another AR half wrote: its codes mean something else. Raises BadDump (exit 3)."""
    half = dump.model.fingerprint.partition("-")[0]
    if dump.model.codebook_size != checkpoint.codebook_size or half not in ("none", checkpoint.half_fingerprint("ar")):
        raise BadDump(
            name,
            f"was written by {dump.model.id}, whose AR weights differ from those of {checkpoint.id}",
            f"Use the model that wrote it: --model {dump.model.id}",
        )
