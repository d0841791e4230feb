"""What both kinds of output places have in common: a folder (`folder`) and an object store (`remote`)."""

from __future__ import annotations

from typing import NamedTuple

RESULTS = "results.jsonl"


class Stamp(NamedTuple):
    """What identifies a file's version without reading it.

    size:    in bytes
    changed: when its content or its name last did, in nanoseconds; 0 where the place does not say
    """

    size: int
    changed: int = 0
