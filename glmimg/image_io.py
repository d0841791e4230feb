"""Pictures on disk: PNG out, whole and with its provenance inside, and that provenance read back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glmimg.atomic import write_atomically
from glmimg.choice import ModelChoice
from glmimg.errors import BadImage
from glmimg.grid import Role
from glmimg.job import Job
from glmimg.pictures import PNG, opened
from glmimg.tokens.dump import ModelRef
from glmimg.tokens.dump_file import first_problem

if TYPE_CHECKING:
    from PIL.Image import Image

PARAMETERS_CHUNK = "parameters"
"""PNG text chunk other picture tools read: the prompt, then one line of `Key: value` pairs."""

PROVENANCE_CHUNK = "glmimg"
"""PNG text chunk with the whole `Provenance` as JSON."""


class Provenance(BaseModel):
    """How a picture was made: enough to make it again, bit for bit on the same machine.

    beyond:  what made the picture besides the job, so that the job alone would not make it again; empty for nothing
    grid:    which grid of the dump was painted; a draft shows the preview of the job's picture
    changes: what made stage 2 another than the checkpoint's, as `ModelRef.changes` says of stage 1
    choice:  how the model was loaded; None in pictures of the first edition
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The first edition's name: its pictures replay here.
    format: Literal["glmimg.making"] = "glmimg.making"
    job: Job
    model: ModelRef
    device: str
    dtype: str
    versions: dict[str, str]
    beyond: str = ""
    grid: Role = "target"
    changes: list[str] = []
    choice: Annotated[ModelChoice | None, Field(exclude_if=lambda value: value is None)] = None

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
    """A finished picture: RGB pixels and how they were made."""

    image: Image
    provenance: Provenance

    def save(self, path: str | Path, *, metadata: bool = True) -> None:
        """Write it as a PNG, whole or not at all, how it was made inside. Raises WriteError (exit 1)."""
        write_atomically(Path(path), encode_png(self, metadata=metadata))

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return encode_png(self)


def encode_png(picture: Picture, *, metadata: bool = True) -> bytes:
    """The picture as the bytes of a PNG file, its provenance in text chunks unless `metadata` is off."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    if metadata:
        chunks.add_text(PARAMETERS_CHUNK, picture.provenance.parameters())
        chunks.add_text(PROVENANCE_CHUNK, picture.provenance.model_dump_json())
    buffer = io.BytesIO()
    picture.image.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def read_provenance(path: Path, data: bytes | None = None) -> Provenance:
    """How a PNG of glmimg (or the bytes read of it) was made. Raises BadImage (exit 3), also without valid metadata."""
    with opened(path, data, formats=PNG) as image:
        image.load()
        text = getattr(image, "text", {})
    if PROVENANCE_CHUNK not in text:
        raise BadImage(
            path, "carries no glmimg metadata", "It was not made by glmimg, was made with --no-metadata, or lost it."
        )
    try:
        return Provenance.model_validate_json(text[PROVENANCE_CHUNK])
    except ValidationError as error:
        raise BadImage(path, f"its glmimg metadata is damaged: {first_problem(error)}") from error
