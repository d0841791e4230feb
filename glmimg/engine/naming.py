"""Names of files made from what is drawn."""

from __future__ import annotations

import re

SLUG_LENGTH = 60


def slug(prompt: str) -> str:
    """The prompt as a part of a file name: letters and digits of any script, dashes between."""
    words = re.findall(r"\w+", prompt.lower())
    text = ""
    for word in words:
        longer = f"{text}-{word}" if text else word
        if len(longer.encode()) > SLUG_LENGTH * 2 or len(longer) > SLUG_LENGTH:
            break
        text = longer
    return text or (words[0][:SLUG_LENGTH] if words else "picture")
