"""What the places a batch may keep its files in have in common: a folder (`folder`), an object store (`remote`)."""

from __future__ import annotations

from typing import NamedTuple

RESULTS = "results.jsonl"


class Stamp(NamedTuple):
    """What tells a file from another without reading it.

    size:    in bytes
    changed: when its content or its name last did, in nanoseconds; 0 where the place does not say
    """

    size: int
    changed: int = 0
