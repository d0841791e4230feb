"""One page to look at a batch: thumbnails, what made them, links to the files. Works from disk, without network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

from glmimg.engine.batch.ledger import Record
from glmimg.engine.batch.store import Store
from glmimg.errors import BadImage
from glmimg.pictures import opened

PAGE = "index.html"
THUMBNAIL_PX = 256
THUMBNAIL_QUALITY = 70


def write_gallery(store: Store, title: str) -> str:
    """Write index.html for everything results.jsonl tells of, and return its place.

    title:  of the page
    raises: WriteError (exit 1)
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("glmimg.engine.batch", "templates"), autoescape=True)
    records = list(last_records(store).values())
    failed = sum(record["status"] == "failed" for record in records)
    pieces = environment.get_template("gallery.html").stream(
        title=title, cards=(_card(record, store) for record in records), total=len(records), failed=failed
    )
    buffer = io.BytesIO()
    pieces.dump(buffer, encoding="utf-8")
    store.write(PAGE, buffer.getvalue())
    return store.place(PAGE)


def last_records(store: Store) -> dict[str, dict[str, Any]]:
    """The last record of each job, in the order in which jobs first ended."""
    found: dict[str, dict[str, Any]] = {}
    for line in _all_lines(store):
        try:
            record = Record.model_validate_json(line).model_dump()
        except ValueError:
            continue
        found[record["name"]] = record
    return found


def _all_lines(store: Store) -> Iterator[bytes]:
    from glmimg.engine.batch.folder import open_store

    yield from open_store(store.root).read_results()


def _card(record: dict[str, Any], store: Store) -> dict[str, Any]:
    """What the template shows of one job."""
    shown = ("size", "seed", "dit_seed", "steps", "guidance", "temperature", "top_p")
    settings = {key: record[key] for key in shown if not (key == "dit_seed" and record[key] == record["seed"])}
    return {
        **{key: record[key] for key in ("name", "prompt", "picture", "tokens", "error")},
        "settings": settings,
        "thumbnail": _thumbnail(store, record["picture"]) if record["picture"] else None,
        "haystack": " ".join([record["name"], record["prompt"], json.dumps(settings), record["status"]]).lower(),
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
