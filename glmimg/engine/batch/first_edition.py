"""What the first edition's batches hashed: names and seeds made of a line stay, so that its folders go on here."""

from __future__ import annotations

import json
from typing import Any

from glmimg.job import Size
from glmimg.request import Layer

ORDER = (
    *("prompt", "size", "seed", "dit_seed", "steps", "guidance", "temperature", "top_p", "ar_method", "ar_window"),
    *("guidance_window", "scheduler", "cache", "guidance_batch"),
)
"""The knobs there were, in the order they were written; later ones follow by name, where they are given."""

DEFAULTS = {"steps": 50, "guidance": 1.5}
"""What the preset `default` given, which stood in every line."""


def line_text(given: Layer) -> str:
    """What a line says, as text to hash: sizes and windows as they are written on the command line."""
    plain = DEFAULTS | {key: _written(value) for key, value in given.items()}
    order = [*ORDER, *sorted(set(plain) - {*ORDER})]
    return json.dumps({key: plain[key] for key in order if key in plain}, ensure_ascii=False, separators=(",", ":"))


def _written(value: Any) -> Any:
    if isinstance(value, Size):
        return str(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
