"""A checkpoint in the diffusers layout of `zai-org/GLM-Image`: its parts, its configuration, its health.

Nothing here imports torch: all of it is read from JSON files and safetensors headers, before weights load.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from glmimg.errors import ModelUnfit
from glmimg.grid import CELL_PX
from glmimg.runtime.precompressed import method_of, missing_reader
from glmimg.sources.fitting import SourceBounds
from glmimg.text import shell_words

Half = Literal["ar", "dit"]

CLASSES = {
    "vision_language_encoder": "GlmImageForConditionalGeneration",
    "processor": "GlmImageProcessor",
    "text_encoder": "T5EncoderModel",
    "tokenizer": "ByT5Tokenizer",
    "transformer": "GlmImageTransformer2DModel",
    "vae": "AutoencoderKL",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
}
"""The parts of a GLM-Image and the class each must be of (its `model_index.json`)."""

CONFIG_FILES = {
    "vision_language_encoder": "config.json",
    "processor": "tokenizer_config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "transformer": "config.json",
    "vae": "config.json",
    "scheduler": "scheduler_config.json",
}

HALVES: dict[Half, tuple[str, ...]] = {
    "ar": ("vision_language_encoder", "processor"),
    "dit": ("text_encoder", "tokenizer", "transformer", "vae", "scheduler"),
}

FILE_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
"""What of a hub repository makes a checkpoint: configurations, tokenizers, safetensors; never pickles, never code."""

WEIGHT_STEMS = {
    "vision_language_encoder": "model",
    "text_encoder": "model",
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}

GENERATE_DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "top_k": 50}
"""What transformers' `generate` takes where a checkpoint says nothing (`GenerationConfig`)."""

_BOUNDS = (("shortest", "min_pixels"), ("longest", "max_pixels"))
"""Two generations of names for the processor's bounds; the values are pixels in all."""

_PROBES = 16
_PROBE_BYTES = 4096
_DEFAULT_SAMPLE_PX = 1024


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    id:       what the user calls it (hub id, path or "demo")
    folder:   where its `model_index.json` lies
    revision: hub commit, None for a local directory
    """

    id: str
    folder: Path
    revision: str | None = None

    def config(self, part: str, name: str | None = None) -> dict[str, Any]:
        """A configuration file of one part. Raises ModelUnfit (exit 4) if missing or not a JSON object."""
        return self._read_json(self.folder / part / (name or CONFIG_FILES[part]))

    @cached_property
    def codebook_size(self) -> int:
        """Number of visual codes: ids of a grid are below it."""
        return int(self._value("vision_language_encoder", "vq_config", "num_embeddings"))

    @cached_property
    def decoder_codebook_size(self) -> int:
        """Number of visual codes the DiT can embed."""
        return int(self._value("transformer", "prior_vq_quantizer_codebook_size"))

    @cached_property
    def default_size(self) -> tuple[int, int]:
        """(height, width) in pixels drawn when nobody says a size: the one the VAE was made for."""
        side = int(self.config("vae").get("sample_size") or _DEFAULT_SAMPLE_PX)
        return side, side

    @cached_property
    def source_bounds(self) -> SourceBounds:
        """Which source pictures the AR half's processor leaves unscaled. Raises ModelUnfit (exit 4)."""
        nested = self.folder / "processor" / "processor_config.json"
        config = self._read_json(nested).get("image_processor") if nested.exists() else None
        config = config if isinstance(config, dict) else self.config("processor", "preprocessor_config.json")
        size = config.get("size") or {}
        least, most = (size.get(f"{side}_edge") or config.get(name) for side, name in _BOUNDS)
        cell = 2 * int(config.get("patch_size", 0)) * int(config.get("merge_size", 1))
        if not (least and most) or cell != CELL_PX:
            raise self.unfit(f"its image processor has no pixel bounds, or codes of {cell} px instead of {CELL_PX}")
        return SourceBounds.of_pixels(int(least), int(most))

    @cached_property
    def context_length(self) -> int | None:
        """Tokens the AR half can read and write in all, None if its configuration does not say."""
        text = self.config("vision_language_encoder").get("text_config") or {}
        limit = text.get("max_position_embeddings")
        return int(limit) if limit else None

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """The AR half's sampling defaults: its generation_config.json over what `generate` assumes."""
        path = self.folder / "vision_language_encoder" / "generation_config.json"
        configured = self._read_json(path) if path.exists() else {}
        return GENERATE_DEFAULTS | {key: value for key, value in configured.items() if value is not None}

    def compressed_by(self, part: str) -> str | None:
        """The method a part comes compressed by, such as "auto-round"; None for plain weights."""
        return method_of(self.config(part))

    def stored_bytes(self, part: str) -> int | None:
        """What the weights of a part that comes compressed take in its files; None for plain weights, or without files.

        raises: ModelUnfit (exit 4)
        """
        if self.compressed_by(part) is None or not (self.folder / part).is_dir():
            return None
        return sum(file.stat().st_size - self.read_header(file)[1] for file in self.weight_files(part))

    def weight_files(self, part: str) -> list[Path]:
        """The safetensors files of one part.

        raises: ModelUnfit (exit 4): none there, pickles only, or an index that names a missing shard
        """
        stem, folder = WEIGHT_STEMS[part], self.folder / part
        index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
        if index.exists():
            weight_map = self._read_json(index).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise self.unfit(f"{index.relative_to(self.folder)} names no weights")
            files = [folder / name for name in sorted({str(name) for name in weight_map.values()})]
        elif single.exists():
            files = [single]
        else:
            pickles = [path.name for pattern in ("*.bin", "*.pt", "*.ckpt", "*.pth") for path in folder.glob(pattern)]
            if pickles:
                raise self.unfit(f"{part} has only pickled weights ({pickles[0]}); glmimg loads safetensors only")
            raise self.unfit(f"{part} has no weights ({single.name} is missing)")
        for file in files:
            if not file.exists():
                raise self.unfit(f"{file.relative_to(self.folder)} is missing, though the index names it")
        return files

    def check(self, *halves: Half) -> None:
        """Raise the first problem found in the given halves. Raises ModelUnfit (exit 4)."""
        for problem in self.problems(*halves):
            raise problem

    def problems(self, *halves: Half) -> Iterator[ModelUnfit]:
        """Everything that makes this checkpoint unusable for the given halves (both if none is named)."""
        parts = [part for half in halves or ("ar", "dit") for part in HALVES[half]]
        for problem in self._problems_of_index(parts):
            yield problem
            return
        for part in parts:
            try:
                self._check_reader(part)
                for file in self.weight_files(part) if part in WEIGHT_STEMS else ():
                    self.read_header(file)
            except ModelUnfit as problem:
                yield problem
        try:
            if {"vision_language_encoder", "transformer"} <= set(parts):
                self._check_codebooks()
        except ModelUnfit as problem:
            yield problem

    def fingerprint(self) -> str:
        """Identity of the weights, `AR half-DiT half`, 16 hex digits each, `none` for a half that is not there.

        Configurations, safetensors headers and 64 kB spread over each weight file go into it: it
        tells fine-tunes of one architecture apart without reading 36 GB.
        """
        return "-".join(self.half_fingerprint(half) for half in HALVES)

    def half_fingerprint(self, half: Half) -> str:
        digest = hashlib.sha256()
        try:
            for part in HALVES[half]:
                digest.update(json.dumps(self.config(part), sort_keys=True).encode())
                for file in self.weight_files(part) if part in WEIGHT_STEMS else ():
                    digest.update(_sample(file))
        except ModelUnfit:
            return "none"
        return digest.hexdigest()[:16]

    def unfit(self, reason: str) -> ModelUnfit:
        """The error for a checkpoint with this fault."""
        fix = f"glmimg models pull {shell_words(self.id)}" if self.revision else "Fetch the checkpoint again"
        return ModelUnfit(
            f"model {self.id}: {reason}", f"{fix}; glmimg models check {shell_words(self.folder)} lists every fault."
        )

    def _value(self, part: str, *keys: str) -> Any:
        value: Any = self.config(part)
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise self.unfit(f"{part}/{CONFIG_FILES[part]} does not say {'.'.join(keys)}")
            value = value[key]
        return value

    def _read_json(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.folder)
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise self.unfit(f"{name} is missing") from error
        except OSError as error:
            raise self.unfit(f"{name} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise self.unfit(f"{name} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise self.unfit(f"{name} is not a JSON object")
        return value

    def _problems_of_index(self, parts: list[str]) -> Iterator[ModelUnfit]:
        try:
            index = self._read_json(self.folder / "model_index.json")
        except ModelUnfit as problem:
            yield problem
            return
        for part in parts:
            entry = index.get(part)
            name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
            if name != CLASSES[part]:
                found = f"is of class {name}" if name else "is not named"
                yield self.unfit(f"model_index.json: {part} {found}, a GLM-Image has {CLASSES[part]}")

    def _check_reader(self, part: str) -> None:
        method = self.compressed_by(part)
        package = missing_reader(method) if method else None
        if package:
            raise ModelUnfit(
                f"model {self.id}: {part} comes compressed by {method}, which needs {package} (not installed)",
                f"Install it: pip install {package}",
            )

    def read_header(self, file: Path) -> tuple[dict[str, Any], int]:
        """A safetensors header, checked against the file, and where in the file the data start.

        raises: ModelUnfit (exit 4) for a damaged file
        source: the format's README: u64 length, JSON, data
        """
        name, size = file.relative_to(self.folder), file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if length + 8 > size:
                raise self.unfit(f"{name} is damaged: it is too short for its header")
            try:
                header = json.loads(stream.read(length))
                tensors = [value for key, value in header.items() if key != "__metadata__"]
                end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
            except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
                raise self.unfit(f"{name} is damaged: its header cannot be read") from error
        if size != 8 + length + end:
            raise self.unfit(f"{name} is damaged: {size:,} bytes instead of {8 + length + end:,}")
        return dict(header), 8 + length

    def _check_codebooks(self) -> None:
        if self.codebook_size != self.decoder_codebook_size:
            raise self.unfit(
                f"its halves do not belong together: {self.codebook_size} codes against {self.decoder_codebook_size}"
            )


def _sample(file: Path) -> bytes:
    """The header and 16 evenly spaced blocks of a weight file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))[0]
        blocks = [stream.read(min(length, size))]
        for probe in range(_PROBES):
            stream.seek(size * probe // _PROBES)
            blocks.append(stream.read(_PROBE_BYTES))
    return b"".join(blocks)
