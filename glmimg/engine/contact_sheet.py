"""A contact sheet: drafts side by side, each with its number and seed under it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadImage
from glmimg.pictures import PNG, opened

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = "glmimg.candidates"
"""PNG text chunk that says what the drafts are previews of."""

GAP, LABEL = 8, 22
"""Pixels between drafts, and for the line under each."""

THUMBNAIL = 320
"""Longest side in pixels at which a draft stands on the sheet."""


def contact_sheet(drafts: Sequence[Image], labels: Sequence[str], description: str) -> bytes:
    """The sheet as the bytes of a PNG file.

    drafts: pictures of one size, in the order of their numbers
    description:   goes into the file, for `description_on`
    """
    from PIL import Image, ImageDraw, ImageFont
    from PIL.PngImagePlugin import PngInfo

    thumbnails = [draft.copy() for draft in drafts]
    for thumbnail in thumbnails:
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    width, height = thumbnails[0].size
    columns = math.ceil(math.sqrt(len(drafts)))
    rows = math.ceil(len(drafts) / columns)
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), GAP + rows * (height + LABEL + GAP)), "white")
    write = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for place, (thumbnail, label) in enumerate(zip(thumbnails, labels, strict=True)):
        left = GAP + place % columns * (width + GAP)
        top = GAP + place // columns * (height + LABEL + GAP)
        sheet.paste(thumbnail, (left, top))
        write.text((left, top + height + 2), label, fill="black", font=font)
    chunks = PngInfo()
    chunks.add_text(CHUNK, description)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def description_on(path: Path) -> str | None:
    """What a sheet says its drafts are; None if there is no sheet at `path`."""
    try:
        with opened(path, formats=PNG) as image:
            return str(getattr(image, "text", {}).get(CHUNK))
    except BadImage:
        return None
