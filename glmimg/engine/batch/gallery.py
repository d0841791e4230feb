"""A gallery page of a folder: thumbnails, settings, links to the files. It works offline, from disk.

Whatever the ledger and the pictures contain, the page shows nothing from outside the folder and links to nothing there.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from glmimg.engine.batch.folder import FolderStore, Store, open_store
from glmimg.engine.batch.ledger import Record
from glmimg.errors import BadImage, OutputError
from glmimg.files import open_regular
from glmimg.image_io import read_provenance
from glmimg.job import SourceRef
from glmimg.pictures import opened

PAGE = "index.html"
MARKS = (b'<meta name="generator" content="glmimg">', b"img-src data: 'self' file:; style-src 'unsafe-inline'")
"""Marks by which our pages are recognized: today's, and that of the first edition."""

HEAD_BYTES, MAX_NAME_BYTES = 2000, 255
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".heic")
THUMBNAIL_PX, SOURCE_PX = 384, 96
THUMBNAIL_QUALITY = 70
SHOWN = ("size", "seed", "dit_seed", "steps", "guidance", "scheduler", "temperature", "top_p")


class Shown(NamedTuple):
    """A picture on the page. link: its file beside the page; thumbnail: a data URI. None if not available."""

    name: str
    link: str | None = None
    thumbnail: str | None = None


@dataclass(frozen=True)
class Card:
    """A job, or a picture without a job. tokens: file name of its dump; reason: why there is no picture to show."""

    name: str
    prompt: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    tokens: str | None = None
    error: str | None = None
    picture: Shown | None = None
    reason: str = "failed"
    sources: tuple[Shown, ...] = ()

    @property
    def haystack(self) -> str:
        """The text that the filter searches."""
        told = [f"{key}: {value}" for key, value in self.settings.items()] + [each.name for each in self.sources]
        return " ".join([self.name, self.prompt, *told, "failed" if self.error else "done"]).lower()


def check_page(store: Store, *, force: bool) -> None:
    """Refuse to overwrite a page that is not ours. Raises OutputError (exit 2)."""
    if force:
        return
    try:
        is_link = isinstance(store, FolderStore) and (store.folder / PAGE).is_symlink()
        if not is_link and any(mark in store.read(PAGE)[:HEAD_BYTES] for mark in MARKS):
            return
    except FileNotFoundError:
        return
    except OSError:
        pass
    raise OutputError(f"{store.place(PAGE)} is not a gallery of glmimg", "Overwrite it with --force, or move it away.")


def write_gallery(store: Store, title: str, *, force: bool = False) -> str:
    """Write index.html for all pictures there and all jobs that results.jsonl tells of, and return its place.

    raises: as `check_page`, WriteError (exit 1), BadImage (exit 3) for a place without any
    """
    from jinja2 import Environment, PackageLoader

    check_page(store, force=force)
    cards = list(_cards(store))
    if not cards:
        raise BadImage(store.root, "contains no pictures")
    environment = Environment(loader=PackageLoader("glmimg.engine.batch", "templates"), autoescape=True)
    page = environment.get_template("gallery.html").render(title=title, cards=cards)
    store.write(PAGE, page.encode(errors="replace"), replace=True)
    return store.place(PAGE)


def last_records(store: Store) -> dict[str, Record]:
    """The last record of each job, in the order in which the jobs first finished."""
    found: dict[str, Record] = {}
    for line in open_store(store.root, make=False).read_results():
        with suppress(ValueError):
            record = Record.model_validate_json(line)
            found[record.name] = record
    return found


def _cards(store: Store) -> Iterator[Card]:
    """The cards of every recorded job and of every other picture."""
    records = last_records(store).values()
    for record in records:
        tokens = record.tokens if record.tokens and _is_here(store, record.tokens) else None
        card = Card(record.name, record.prompt, _told(record.model_dump(include={*SHOWN})), tokens, record.error)
        yield card if record.picture is None else _with_picture(card, store, record.picture)
    recorded = {record.picture for record in records}
    for name in sorted(store.stamps().keys() - recorded):
        if name.lower().endswith(ENDINGS) and not name.startswith("."):
            yield _with_picture(Card(name), store, name)


def _with_picture(card: Card, store: Store, name: str) -> Card:
    """The card with a picture of the folder; the picture's own metadata take precedence over the record."""
    try:
        data = _read(store, name)
    except (BadImage, OSError):
        return replace(card, reason="the picture is not here")
    with suppress(BadImage):
        job = read_provenance(Path(name), data).job
        values = {"size": str(job.scene.size), **dict(job.sampling), **dict(job.painting)}
        sources = tuple(_source(store, ref) for ref in job.scene.sources)
        card = replace(card, prompt=job.scene.prompt, settings=_told(values), sources=sources)
    if card.tokens is None and _is_here(store, beside := f"{Path(name).stem}.tokens.json"):
        card = replace(card, tokens=beside)
    thumbnail = _thumbnail(name, data, THUMBNAIL_PX)
    return replace(card, picture=Shown(name, name, thumbnail), reason="" if thumbnail else "the picture is damaged")


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """The settings to show, without the second seed if both are equal."""
    return {key: values[key] for key in SHOWN if key in values and (key != "dit_seed" or values[key] != values["seed"])}


def _source(store: Store, ref: SourceRef) -> Shown:
    """A source picture: shown if it is in the folder and unchanged, else only named."""
    name = Path(ref.path).name
    with suppress(BadImage, OSError):
        data = _read(store, name)
        if hashlib.sha256(data).hexdigest() == ref.sha256:
            return Shown(name, name, _thumbnail(name, data, SOURCE_PX))
    return Shown(ref.path)


def _read(store: Store, name: str) -> bytes:
    """A file of the folder. Raises BadImage (exit 3), also for what is not in it, OSError."""
    if not _is_here(store, name):
        raise BadImage(name, "is not in this folder")
    if not isinstance(store, FolderStore):
        return store.read(name)
    with open_regular(store.folder / name) as file:
        return file.read()


def _is_here(store: Store, name: str) -> bool:
    """Whether a name is that of a file beside the page: no path, no link out of the folder."""
    if name != Path(name).name or "\\" in name or not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
        return False
    if not store.exists(name):
        return False
    return not isinstance(store, FolderStore) or (store.folder / name).resolve().parent == store.folder.resolve()


def _thumbnail(name: str, data: bytes, side: int) -> str | None:
    """A small copy of a picture as a data URI; None of a damaged one."""
    from PIL.ImageOps import exif_transpose

    with suppress(BadImage), opened(name, data) as picture:
        picture.thumbnail((side, side))
        upright, buffer = exif_transpose(picture), io.BytesIO()
        mode = "RGBA" if upright.has_transparency_data else "RGB"
        upright.convert(mode).save(buffer, "WEBP", quality=THUMBNAIL_QUALITY)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return None
