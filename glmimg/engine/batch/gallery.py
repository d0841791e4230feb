"""One page to look at a batch: thumbnails, what made them, links to the files. Works from disk, without network."""

from __future__ import annotations

import base64
import io
import json
from contextlib import suppress
from typing import Any

from glmimg.engine.batch.folder import open_store
from glmimg.engine.batch.ledger import Record
from glmimg.engine.batch.store import Store
from glmimg.errors import BadImage
from glmimg.pictures import opened

PAGE = "index.html"
THUMBNAIL_PX = 256
THUMBNAIL_QUALITY = 70
SHOWN = ("size", "seed", "dit_seed", "steps", "guidance", "temperature", "top_p")


def write_gallery(store: Store, title: str) -> str:
    """Write index.html for everything results.jsonl tells of, and return its place. Raises WriteError (exit 1)."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("glmimg.engine.batch", "templates"), autoescape=True)
    records = list(last_records(store).values())
    failed = sum(record.status == "failed" for record in records)
    cards = [_card(record, store) for record in records]
    page = environment.get_template("gallery.html").render(title=title, cards=cards, total=len(records), failed=failed)
    store.write(PAGE, page.encode())
    return store.place(PAGE)


def last_records(store: Store) -> dict[str, Record]:
    """The last record of each job, in the order in which jobs first ended."""
    found: dict[str, Record] = {}
    for line in open_store(store.root).read_results():
        with suppress(ValueError):
            record = Record.model_validate_json(line)
            found[record.name] = record
    return found


def _card(record: Record, store: Store) -> dict[str, Any]:
    """What the template shows of one job."""
    settings = record.model_dump(include={*SHOWN} - ({"dit_seed"} if record.dit_seed == record.seed else set()))
    return {
        **record.model_dump(include={"name", "prompt", "picture", "tokens", "error"}),
        "settings": settings,
        "thumbnail": _thumbnail(store, record.picture) if record.picture else None,
        "haystack": " ".join([record.name, record.prompt, json.dumps(settings), record.status]).lower(),
    }


def _thumbnail(store: Store, name: str) -> str | None:
    """A small copy of a picture as a data URI; None if the picture was moved away."""
    try:
        with opened(name, store.read(name)) as picture:
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "WEBP", quality=THUMBNAIL_QUALITY)
    except (OSError, BadImage):
        return None
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
