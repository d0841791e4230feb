"""A cache of prepared sources by content, so that a picture used by many jobs is read once."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import BadImage, BadInput
from glmimg.files import hash_file
from glmimg.job import Fit, SourceRef
from glmimg.pictures import PNG, opened
from glmimg.sources.colour import WHITE
from glmimg.sources.prepare import PreparedSource, SourceBounds, prepare_again, prepare_source
from glmimg.sources.web import is_address, local_file
from glmimg.text import shell_words
from glmimg.tokens.dump import Source, TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image

CAPACITY = 64
"""Pictures kept at once; one of 2048x2048 px takes 12 MB. What was dropped is read again."""

Key = tuple[str, int, int, Fit | None, str]


def identity(ref: SourceRef) -> Key:
    """The identity of a prepared source: the pixels a dump embeds, or the file's hash, but not its path.

    Embedded pixels count by their own hash: the one a dump states of its source's file proves nothing about them.
    """
    embedded = ref.embedded if isinstance(ref, Source) else None
    sha256 = ref.sha256 if embedded is None else f"embedded {hashlib.sha256(embedded.encode()).hexdigest()}"
    return sha256, ref.height, ref.width, ref.fit, ref.background


class SourceShelf:
    """A cache of the prepared sources of one run.

    elsewhere: files (`--source`) to look among, by hash, for sources that are not where they were
    """

    def __init__(self, elsewhere: Sequence[Path] = (), capacity: int = CAPACITY) -> None:
        self._elsewhere = {hash_file(path): path for path in elsewhere}
        self._capacity = capacity
        self._shelf: OrderedDict[Key, PreparedSource] = OrderedDict()
        self._embedded: dict[Key, PreparedSource] = {}
        self._stated: dict[Key, dict[Key, PreparedSource]] = {}
        self._found: dict[Key, Path] = {}

    def take(self, path: Path, bounds: SourceBounds, fit: Fit = "pad", background: str = WHITE) -> PreparedSource:
        """Prepare a picture file and keep it. Raises BadImage (exit 3)."""
        return self._keep(prepare_source(path, bounds, fit, background), path)

    def put(self, prepared: PreparedSource) -> None:
        """Store a source that was prepared elsewhere."""
        self._keep(prepared, Path(prepared.ref.path))

    def get(self, ref: SourceRef) -> PreparedSource:
        """The prepared source that a job or dump refers to, re-read if not cached. Raises BadImage (exit 3)."""
        key = identity(ref)
        if key in self._embedded:
            return self._embedded[key]
        if not isinstance(ref, Source) and key in self._stated:
            return self._embedded_as(ref)
        if key in self._shelf:
            self._shelf.move_to_end(key)
            return self._shelf[key]
        path = self._found.get(key, local_file(ref.path))
        return self._keep(prepare_again(path, ref), path)

    def find(self, ref: SourceRef, beside: Path, hint: str = "") -> PreparedSource:
        """Like `get`, for a ref read from a file: its path may be relative to that file's folder, or outdated.

        beside: the dump or picture that names the source
        raises: BadImage (exit 3) that says which source is missing or changed
        """
        if (key := identity(ref)) in self._shelf:
            return self._shelf[key]
        path = self._elsewhere.get(ref.sha256) or self._first_there(ref, beside)
        if path is None and is_address(ref.path):
            reason = f"is on the web, but {beside} was drawn from it, and no file makes glmimg fetch"
            raise BadImage(ref.path, reason, hint.replace("PATH", shell_words(ref.path)))
        if path is None:
            raise BadImage(ref.path, f"no longer exists, but {beside} was drawn from it", hint)
        try:
            return self._keep(prepare_again(path, ref), path)
        except BadImage as error:
            raise BadImage(error.path, error.reason, error.hint or hint) from error

    def find_all(self, dump: TokenDump, beside: Path) -> None:
        """Prepare every source of a dump for `get`, whether embedded or from its file. Raises as `find`, BadInput."""
        for source in dump.sources:
            key = identity(source)
            if source.embedded is not None:
                self._embedded[key] = PreparedSource(source.ref, unpack(source, beside))
                self._stated.setdefault(identity(source.ref), {})[key] = self._embedded[key]
            elif key not in self._found:
                self.find(source.ref, beside, f"Give its new path: glmimg decode {shell_words(beside)} --source PATH")

    def only(self, dump: TokenDump, name: Path) -> None:
        """As `find_all`, for who works on dumps of many clients: what those before it embedded is forgotten."""
        self._embedded.clear()
        self._stated.clear()
        self.find_all(dump, name)

    def check(self, ref: SourceRef) -> None:
        """Make sure that `get` will work, unless it has worked before. Raises BadImage (exit 3)."""
        if identity(ref) not in self._found.keys() | self._stated.keys():
            self.get(ref)

    def embed(self, dump: TokenDump) -> TokenDump:
        """The dump with the pixels of its sources inside."""
        sources = [source.model_copy(update={"embedded": pack(self.get(source.ref))}) for source in dump.sources]
        return dump.model_copy(update={"sources": sources})

    def _embedded_as(self, ref: SourceRef) -> PreparedSource:
        """The pixels a dump embeds under the hash of a job's source. Raises BadImage (exit 3) if dumps differ in it."""
        key = identity(ref)
        first, *others = self._stated[key].values()
        others += [self._shelf[key]] if key in self._shelf else []
        if any(other.image.tobytes() != first.image.tobytes() for other in others):
            raise BadImage(
                ref.path, "is embedded with different pixels under the same hash", "Process each dump separately."
            )
        return first

    def _keep(self, prepared: PreparedSource, path: Path) -> PreparedSource:
        key = identity(prepared.ref)
        self._shelf[key], self._found[key] = prepared, path
        if len(self._shelf) > self._capacity:
            self._shelf.popitem(last=False)
        return prepared

    def _first_there(self, ref: SourceRef, beside: Path) -> Path | None:
        """The path as given, or relative to the folder of the file that names it; the right one if both exist."""
        named = Path(ref.path), beside.parent / ref.path
        there = [path for path in named if os.path.exists(path)]  # noqa: PTH110 (never raises)
        right = (path for path in there[:-1] if hash_file(path) == ref.sha256)
        return next(right, there[-1] if there else None)


def pack(prepared: PreparedSource) -> str:
    """A prepared picture as a base64 PNG."""
    buffer = io.BytesIO()
    prepared.image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def unpack(source: Source, name: Path) -> Image:
    """The embedded picture of a source. Raises BadInput (exit 3) if it is none of the size the source says."""
    what = f"the embedded picture of {source.path}"
    try:
        with opened(what, base64.b64decode(source.embedded or "", validate=True), formats=PNG) as image:
            if image.mode != "RGB" or image.size != (source.width, source.height):
                raise BadInput(name, f"{what} is {image.mode} {image.size}, not RGB {source.width}x{source.height}")
            image.load()
            return image.copy()
    except BadImage as error:
        raise BadInput(name, f"{what} {error.reason}") from error
    except ValueError as error:
        raise BadInput(name, f"{what} is damaged: {error}") from error
