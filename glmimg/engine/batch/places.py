"""The store at a place, by what the place is called."""

from __future__ import annotations

from glmimg.engine.batch.folder import FolderStore
from glmimg.engine.batch.store import Store
from glmimg.errors import OutputError


def open_store(place: str, *, make: bool = True) -> Store:
    """The store at a path or at an fsspec URI such as s3://bucket/folder.

    make:   the folder, if it is missing
    raises: OutputError (exit 2) if it cannot be one
    """
    if not place:
        raise OutputError("the folder's name is empty", "For example --out out/.")
    if "://" in place and not place.startswith("file://"):
        from glmimg.engine.batch.remote import RemoteStore

        return RemoteStore.open(place, make=make)
    return FolderStore.open(place.removeprefix("file://"), make=make)
