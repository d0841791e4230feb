"""What can be seen of a dump without parsing it: that parsing it will stay cheap, and means one thing only."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from glmimg.errors import BadDump

MAX_BYTES = 100 * 1024 * 1024
"""A 4096-token dump is about 30 kB; six large embedded sources are about this."""

MAX_WIDE_BYTES = 40 * 1024 * 1024
"""The same for text beyond ASCII, of which Python may keep every byte as four. Embedded sources are ASCII."""

MAX_VALUES = 400_000
"""JSON values in a dump. The largest picture has 16,640 tokens, each with two optional numbers; sources have 4,096."""

MAX_COLONS = 50_000
"""A dump has some dozens of keys; prompts may hold more colons."""


def check_bounds(raw: bytes, name: Path | str) -> None:
    """Refuse files that would take long or much memory to parse.

    A parser's memory grows with the number of values, and every value but the innermost of a nest
    follows a comma or an opening bracket; the faults it can find grow with the keys, each before a
    colon. Counting those bytes bounds both.
    raises: BadDump (exit 3)
    """
    if len(raw) > MAX_BYTES:
        raise BadDump(name, f"is over {MAX_BYTES // 2**20} MiB, no token dump is that large")
    if len(raw) > MAX_WIDE_BYTES and not raw.isascii():
        raise BadDump(name, f"is over {MAX_WIDE_BYTES // 2**20} MiB and no ASCII, no token dump has that much text")
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadDump(name, f"holds over {MAX_VALUES:,} values, no token dump has that many")
    if raw.count(b":") > MAX_COLONS:
        raise BadDump(name, f"holds over {MAX_COLONS:,} colons, no token dump has that many keys")


def check_text(raw: bytes, name: Path | str) -> None:
    """Refuse files without text, and text that some editors save in place of plain UTF-8. Raises BadDump (exit 3)."""
    if not raw or raw.isspace():
        raise BadDump(name, "is empty, not a token dump")
    if raw.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadDump(name, "begins with a byte order mark; dumps are plain UTF-8", "Save it as UTF-8 without one.")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, if it says no key twice. Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it says a key twice: readers would differ in which one they believe")
    return found
