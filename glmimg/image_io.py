"""Picture files of ours: written atomically with their provenance and tokens inside, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glmimg.atomic import write_atomically
from glmimg.choice import ModelChoice
from glmimg.errors import BadImage
from glmimg.grid import Role
from glmimg.job import Job, Name
from glmimg.knob import FailFast
from glmimg.metadata import NO_METADATA, PARAMETERS, PROVENANCE, QUALITY, TOKENS, encode, format_of, read_texts
from glmimg.request import problem_of
from glmimg.tokens.dump import VERSION, ModelRef, TokenDump

if TYPE_CHECKING:
    from PIL.Image import Image


MAX_METADATA = 1 << 20
"""Characters; a long prompt and some sources take a tenth of it."""


class Provenance(BaseModel):
    """How a picture was made: enough to reproduce it, bit for bit on the same machine.

    beyond:  what besides the job shaped the picture, so that the job alone does not reproduce it; empty if nothing
    grid:    which grid of the dump was painted; a draft shows the preview of the job's picture
    changes: quantization, adapters and such of stage 2, as `ModelRef.changes` has those of stage 1
    choice:  how the model was loaded; None in pictures of the first edition
    distrusted: ways that had failed their check on that machine, such as "ar graph"
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The first edition's name: its pictures replay here.
    format: Literal["glmimg.making"] = "glmimg.making"
    job: Job
    model: ModelRef
    device: Name
    dtype: Name
    versions: Annotated[dict[Name, Name], Field(max_length=100)]
    beyond: Name = ""
    grid: Role = "target"
    changes: Annotated[list[Name], FailFast()] = []
    choice: Annotated[ModelChoice | None, Field(exclude_if=lambda value: value is None)] = None
    distrusted: Annotated[list[Name], FailFast(), Field(exclude_if=lambda value: not value)] = []

    def parameters(self) -> str:
        """The widespread one-line form, as AUTOMATIC1111's web UI introduced it."""
        scene, sampling, painting = self.job.scene, self.job.sampling, self.job.painting
        pairs = {
            "Steps": painting.steps,
            "Sampler": painting.scheduler.capitalize(),
            "CFG scale": painting.guidance,
            "Seed": painting.dit_seed,
            "Size": scene.size,
            "Model hash": self.model.fingerprint[:10],
            "Model": self.model.id,
            "AR seed": sampling.seed,
            "Version": f"glmimg {self.versions.get('glmimg', '')}",
        }
        return f"{scene.prompt}\n" + ", ".join(f"{key}: {value}" for key, value in pairs.items())


@dataclass(frozen=True)
class Picture:
    """A finished picture: RGB pixels, how they were made, and the dump they were painted from."""

    image: Image
    provenance: Provenance
    dump: TokenDump | None = None

    def save(self, path: str | Path, *, metadata: bool = True, quality: int = QUALITY) -> None:
        """Write it atomically, in the format of the extension of `path`: .png, .jpg, .webp or .avif.

        metadata: whether to include how it was made, and its tokens
        quality:  1 to 100; ignored for PNG
        raises:   OutputError (exit 2) for another ending, WriteError (exit 1)
        """
        write_atomically(Path(path), self.encode(format_of(Path(path)), metadata=metadata, quality=quality))

    def encode(self, form: str = "PNG", *, metadata: bool = True, quality: int = QUALITY) -> bytes:
        """The picture as the bytes of a file. Arguments as for `save`."""
        return encode(self.image, form, self._texts() if metadata else {}, quality)

    def _repr_png_(self) -> bytes:
        """The PNG that a notebook shows."""
        return self.encode()

    def _texts(self) -> dict[str, str]:
        made = self.provenance
        texts = {PARAMETERS: made.parameters(), PROVENANCE: made.model_dump_json(ensure_ascii=True)}
        return texts if self.dump is None else texts | {TOKENS: _carried(self.dump, made)}


def _carried(dump: TokenDump, made: Provenance) -> str:
    """A dump as stored in a picture: painted the same way, and the same bytes whenever it is drawn again."""
    grids = [grid.model_copy(update={"logprobs": None, "entropy": None}) for grid in dump.grids]
    sources = [source.model_copy(update={"embedded": None}) for source in dump.sources]
    stats = dump.stats.model_copy(update={"seconds": 0.0})
    painting = made.job.painting if made.grid == "target" else dump.painting
    changed = {"version": VERSION, "grids": grids, "sources": sources, "stats": stats, "painting": painting}
    return dump.model_copy(update=changed).model_dump_json(ensure_ascii=True)


def read_provenance(path: Path, data: bytes | None = None) -> Provenance:
    """How a picture of glmimg (or the bytes read of it) was made. Raises BadImage (exit 3), also without metadata."""
    texts = read_texts(path, data)
    if PROVENANCE not in texts:
        raise BadImage(path, "carries no glmimg metadata", NO_METADATA)
    if len(texts[PROVENANCE]) > MAX_METADATA:
        raise BadImage(path, f"its glmimg metadata is damaged: over {MAX_METADATA >> 20} MiB")
    try:
        return Provenance.model_validate_json(texts[PROVENANCE])
    except ValidationError as error:
        raise BadImage(path, f"its glmimg metadata is damaged: {problem_of(error)}") from error
