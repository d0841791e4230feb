"""From what a client asks for to the jobs that are drawn, with every check before anything is."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from glmimg.engine.complete import complete, complete_painting
from glmimg.engine.dumps import check_fingerprint
from glmimg.engine.http.asking import KNOBS, MOST_SOURCES, Asked, read_knobs
from glmimg.engine.http.refusal import Refusal, refusal_of
from glmimg.engine.memory import check_extras
from glmimg.errors import BadInput, GlmimgError
from glmimg.grid import preview_shape
from glmimg.job import Job, Painting, Size, SourceRef
from glmimg.knob import knobs
from glmimg.request import layer_of, merge
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.sources import SourceShelf
from glmimg.sources.prepare import prepare_again
from glmimg.text import excerpt
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_fits_model, check_has_grid, parse_dump

OTHERS = ("dall-e", "gpt-image", "chatgpt-image", "glm-image", "glmimg")
"""Beginnings of models' names that clients send whatever serves them."""


MOST_FILES = 1000
"""Source pictures kept on disk while the server runs."""


@dataclass
class Jobs:
    """Makes jobs for one checkpoint.

    shelf:   where both stages find the sources of edits
    largest: a picture that may be asked for
    """

    checkpoint: Checkpoint
    shelf: SourceShelf
    largest: Size
    _folder: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="glmimg-"))
    _files: OrderedDict[str, Path] = field(default_factory=OrderedDict)

    def of(self, asked: Asked, fields: Mapping[str, Any], sources: Sequence[SourceRef]) -> list[Job]:
        """`n` jobs with seeds that count on. Raises Refusal (400), GlmimgError."""
        self._check_model(asked.model)
        size = asked.wanted_size()
        given = {**read_knobs(fields), "prompt": asked.prompt, "size": size}
        if size is not None:
            self._check_size(size)
        first = complete(given, self.checkpoint, sources)
        self._check_size(first.scene.size)
        preview_shape(first.scene.size.cells)
        check_extras([first.painting])
        return [
            first.again(seed=first.sampling.seed + offset, dit_seed=given.get("dit_seed")) for offset in range(asked.n)
        ]

    def take(self, pictures: Sequence[bytes]) -> list[SourceRef]:
        """Prepare source pictures, in their order. Raises Refusal (400) that says which one is unfit."""
        if len(pictures) > MOST_SOURCES:
            raise Refusal(400, f"{len(pictures)} source pictures, and at most {MOST_SOURCES} are read", "image")
        return [self._take(data, f"source {number}") for number, data in enumerate(pictures, start=1)]

    def painting_of(self, raw: bytes, said: Mapping[str, str], pictures: Sequence[bytes] = ()) -> tuple[TokenDump, Job]:
        """A dump that was sent, and the job that paints it as it is meant to be unless knobs say otherwise.

        pictures: its sources that it does not embed, in any order
        raises:   Refusal (400), BadDump
        """
        dump = parse_dump(raw, "the dump")
        check_has_grid(dump, "the dump", "target")
        check_fits_model(dump, "the dump", codebook_size=self.checkpoint.decoder_codebook_size)
        check_fingerprint(dump, "the dump", self.checkpoint)
        self._take_again(dump, pictures)
        self._check_size(dump.size)
        own = {each.name for each in knobs(Painting)} & KNOBS
        given = merge(read_knobs({name: said[name] for name in own & said.keys()}), layer_of(*dump.job_parts))
        painting = complete_painting(given, dump.seed, dump.size)
        check_extras([painting])
        return dump, dump.job(painting)

    def _take_again(self, dump: TokenDump, pictures: Sequence[bytes]) -> None:
        """Put the sources of a dump on the shelf that came with it."""
        sent = {hashlib.sha256(data).hexdigest(): data for data in pictures}
        bounds = self.checkpoint.source_bounds
        if len(dump.sources) > MOST_SOURCES or not all(bounds.admit(each.height, each.width) for each in dump.sources):
            raise Refusal(400, f"at most {MOST_SOURCES} sources of at most {bounds.longest} pixels a side are read")
        for number, source in enumerate(dump.sources, start=1):
            if source.embedded is not None:
                continue
            if source.sha256 not in sent:
                missing = f"source {number} of the dump is not among the pictures sent, nor embedded in it"
                raise Refusal(400, missing, "image")
            try:
                self.shelf.put(prepare_again(self._file(sent[source.sha256]), source.ref))
            except BadInput as error:
                raise Refusal(400, f"source {number}: {error.reason}", "image") from error

    def close(self) -> None:
        """Remove what was sent."""
        self._folder.cleanup()

    def _take(self, data: bytes, name: str) -> SourceRef:
        """A picture on the shelf, under a name that says nothing of this machine."""
        path = self._file(data)
        try:
            prepared = self.shelf.take(path, self.checkpoint.source_bounds)
        except BadInput as error:
            raise Refusal(400, f"{name}: {error.reason}", "image") from error
        except GlmimgError as error:
            raise refusal_of(error, "image") from error
        return prepared.ref.model_copy(update={"path": f"{name.replace(' ', '-')}.png"})

    def _file(self, data: bytes) -> Path:
        """A picture as a file, from which the shelf reads again what it had no room for. The oldest are removed."""
        name = hashlib.sha256(data).hexdigest()
        if name not in self._files:
            path = Path(self._folder.name) / name
            path.write_bytes(data)
            self._files[name] = path
        self._files.move_to_end(name)
        while len(self._files) > MOST_FILES:
            self._files.popitem(last=False)[1].unlink(missing_ok=True)
        return self._files[name]

    def _check_model(self, name: str) -> None:
        own = self.checkpoint.id.lower()
        if name and name.lower() not in (own, own.rpartition("/")[2]) and not name.lower().startswith(OTHERS):
            known = f"there is no model {excerpt(name, 60)!r} here, but {excerpt(self.checkpoint.id)}"
            raise Refusal(404, known, "model", "model_not_found")

    def _check_size(self, size: Size) -> None:
        if math.prod(size) > math.prod(self.largest):
            raise Refusal(400, f"size {size} is larger than {self.largest}, the most that is drawn here", "size")
