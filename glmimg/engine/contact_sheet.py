"""The contact sheet: drafts side by side, each with its number and seed below it."""

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


def contact_sheet(
    drafts: Sequence[Image],
    labels: Sequence[str],
    description: str = "",
    names: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> bytes:
    """The sheet as the bytes of a PNG file.

    drafts: pictures, row by row
    labels: what stands under each
    description: goes into the file, for `description_on`
    names:  of its rows and of its columns; without, it is a square
    """
    from PIL import Image, ImageDraw, ImageFont
    from PIL.PngImagePlugin import PngInfo

    thumbnails = [thumbnail_of(draft) for draft in drafts]
    width, height = (max(each.size[side] for each in thumbnails) for side in (0, 1))
    font = ImageFont.load_default(14)
    rows, columns = names
    across = len(columns) or math.ceil(math.sqrt(len(drafts)))
    down = math.ceil(len(drafts) / across)
    margin = GAP + round(max([font.getlength(name) + GAP for name in rows], default=0))
    top = GAP + (LABEL if columns else 0)
    sheet = Image.new("RGB", (margin + across * (width + GAP), top + down * (height + LABEL + GAP)), "white")
    write = ImageDraw.Draw(sheet)
    places = [
        (margin + x * (width + GAP), top + y * (height + LABEL + GAP)) for y in range(down) for x in range(across)
    ]
    for (left, above), thumbnail, label in zip(places, thumbnails, labels, strict=False):
        sheet.paste(thumbnail, (left, above))
        write.text((left, above + height + 2), label, fill="black", font=font)
    for (left, _), name in zip(places, columns, strict=False):
        write.text((left, GAP), name, fill="black", font=font)
    for (_, above), name in zip(places[::across], rows, strict=False):
        write.text((GAP, above + height // 2), name, fill="black", font=font)
    chunks = PngInfo()
    chunks.add_text(CHUNK, description)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def thumbnail_of(picture: Image) -> Image:
    """A picture as it stands on a sheet."""
    thumbnail = picture.copy()
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    return thumbnail


def description_on(path: Path) -> str | None:
    """The description inside a sheet; None if there is no sheet at `path`."""
    try:
        with opened(path, formats=PNG) as image:
            return str(getattr(image, "text", {}).get(CHUNK))
    except BadImage:
        return None
