"""A checkpoint in the diffusers layout of `zai-org/GLM-Image`: its parts, its configuration, its health.

Nothing here imports torch: all of it is read from JSON files and safetensors headers, before weights load.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from safetensors import SafetensorError, safe_open

from glmimg.errors import ModelUnfit
from glmimg.grid import CELL_PX
from glmimg.runtime import configuration as allowed
from glmimg.sources.prepare import SourceBounds
from glmimg.text import excerpt, shell_words

Half = Literal["ar", "dit"]


@dataclass(frozen=True)
class Part:
    """A part of a GLM-Image: its class in `model_index.json`, its configuration, what its weight files begin with."""

    half: Half
    class_name: str
    config_file: str
    may_hold: allowed.Allowed
    weight_stem: str | None = None


PARTS = {
    "vision_language_encoder": Part("ar", "GlmImageForConditionalGeneration", "config.json", allowed.AR, "model"),
    "processor": Part("ar", "GlmImageProcessor", "tokenizer_config.json", allowed.ANYTHING),
    "text_encoder": Part("dit", "T5EncoderModel", "config.json", allowed.T5, "model"),
    "tokenizer": Part("dit", "ByT5Tokenizer", "tokenizer_config.json", allowed.ANYTHING),
    "transformer": Part("dit", "GlmImageTransformer2DModel", "config.json", allowed.DIT, "diffusion_pytorch_model"),
    "vae": Part("dit", "AutoencoderKL", "config.json", allowed.VAE, "diffusion_pytorch_model"),
    "scheduler": Part("dit", "FlowMatchEulerDiscreteScheduler", "scheduler_config.json", allowed.SCHEDULER),
}
HALVES: tuple[Half, ...] = get_args(Half)

BACKBONES: dict[Half, str] = {"ar": "vision_language_encoder", "dit": "transformer"}
"""The part of each stage that adapters change, and that can be quantized or streamed."""

FILE_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
"""Files of a hub repository that make a checkpoint: configurations, tokenizers, safetensors; never pickles or code."""

GENERATE_DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "top_k": 50}
"""Defaults of transformers' `generate` where a checkpoint says nothing (`GenerationConfig`)."""

_BOUNDS = (("shortest", "min_pixels"), ("longest", "max_pixels"))
"""The newer and the older name of each bound of the processor; both count all pixels of a picture."""

_MAX_JSON_BYTES = 100_000_000
"""The largest header that safetensors allows, and more than any configuration needs."""

_POINTER = b"version https://git-lfs"
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
    is_noise: ClassVar[bool] = False

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of one part. Raises ModelUnfit (exit 4) if missing, or with a value that cannot be."""
        return self._read_config(self.folder / part / PARTS[part].config_file, PARTS[part].may_hold)

    @cached_property
    def codebook_size(self) -> int:
        """Number of visual codes; ids of a grid are below it."""
        return int(self.config("vision_language_encoder")["vq_config"]["num_embeddings"])

    @cached_property
    def decoder_codebook_size(self) -> int:
        """Number of visual codes the DiT can embed."""
        return int(self.config("transformer")["prior_vq_quantizer_codebook_size"])

    @cached_property
    def default_size(self) -> tuple[int, int]:
        """Default (height, width) in pixels: the size the VAE was trained for."""
        side = int(self.config("vae").get("sample_size") or _DEFAULT_SAMPLE_PX)
        if side % CELL_PX:
            raise self.unfit(f"vae/config.json: sample_size {side} is not a multiple of {CELL_PX}")
        return side, side

    @cached_property
    def source_bounds(self) -> SourceBounds:
        """Sizes of source pictures that the AR model's processor leaves unscaled. Raises ModelUnfit (exit 4)."""
        folder = self.folder / "processor"
        nested, plain = folder / "processor_config.json", folder / "preprocessor_config.json"
        config = self._read_json(nested).get("image_processor") if nested.exists() else None
        if not isinstance(config, dict):
            config = self._read_json(plain)
        if problem := allowed.IMAGES.problem(config):
            raise self.unfit(f"its image processor: {problem}")
        size = config.get("size") or {}
        least, most = (size.get(f"{side}_edge") or config.get(name) for side, name in _BOUNDS)
        cell = 2 * int(config.get("patch_size", 0)) * int(config.get("merge_size", 1))
        if not (least and most) or cell != CELL_PX:
            raise self.unfit(f"its image processor has no pixel bounds, or codes of {cell} px instead of {CELL_PX}")
        return SourceBounds.of_pixels(int(least), int(most))

    @cached_property
    def context_length(self) -> int | None:
        """Tokens the AR model can read and write in total, None if its configuration does not say."""
        text = self.config("vision_language_encoder").get("text_config") or {}
        limit = text.get("max_position_embeddings")
        return int(limit) if limit else None

    @cached_property
    def markers(self) -> list[str]:
        """Special tokens that no prompt may contain, from the tokenizer's configuration."""
        path = self.folder / "processor" / "tokenizer_config.json"
        config = self._read_json(path) if path.exists() else {}
        values = [config.get(name) for name in ("image_token", "bos_token", "eos_token")]
        texts = [value.get("content") if isinstance(value, dict) else value for value in values]
        return [text for text in texts if isinstance(text, str) and text]

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """The AR half's sampling defaults: its generation_config.json over what `generate` assumes."""
        path = self.folder / "vision_language_encoder" / "generation_config.json"
        configured = self._read_config(path, allowed.GENERATION) if path.exists() else {}
        return GENERATE_DEFAULTS | {key: value for key, value in configured.items() if value is not None}

    def compressed_by(self, part: str) -> str | None:
        """The method a part is already quantized with, such as "auto-round"; None for plain weights."""
        return allowed.method_of(self.config(part))

    def stored_bytes(self, part: str) -> int | None:
        """File size in bytes of an already quantized part; None for plain weights, or without files.

        raises: ModelUnfit (exit 4)
        """
        if self.compressed_by(part) is None or not (self.folder / part).is_dir():
            return None
        return sum(file.stat().st_size - self.read_header(file)[1] for file in self.weight_files(part))

    def parameters(self, part: str) -> dict[str, int]:
        """How many numbers each tensor of a part holds. Raises ModelUnfit (exit 4)."""
        tensors = {name: each for file in self.weight_files(part) for name, each in self.read_header(file)[0].items()}
        return {name: math.prod(each["shape"]) for name, each in tensors.items()}

    def weight_files(self, part: str) -> list[Path]:
        """The safetensors files of one part; none for a part without weights.

        raises: ModelUnfit (exit 4): none there, pickles only, or an index that names a missing shard
        """
        stem, folder = PARTS[part].weight_stem, self.folder / part
        if stem is None:
            return []
        index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
        if index.exists():
            weight_map = self._read_json(index).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise self.unfit(f"{index.relative_to(self.folder)} names no weights")
            names = sorted({str(name) for name in weight_map.values()})
            if outside := [name for name in names if name in ("", ".", "..") or re.search(r"[/\\\0]", name)]:
                raise self.unfit(f"{index.relative_to(self.folder)} names a file elsewhere: {excerpt(outside[0])}")
            files = [folder / name for name in names]
        elif single.exists():
            files = [single]
        else:
            pickles = [path.name for pattern in ("*.bin", "*.pt", "*.ckpt", "*.pth") for path in folder.glob(pattern)]
            if pickles:
                raise self.unfit(f"{part} has only pickled weights ({pickles[0]}); glmimg loads safetensors only")
            raise self.unfit(f"{part} has no weights ({single.name} is missing)")
        for file in files:
            if not file.is_file():
                fault = "is not a file" if file.exists() else "is missing, though the index names it"
                raise self.unfit(f"{file.relative_to(self.folder)} {fault}")
        return files

    def check(self, *halves: Half) -> None:
        """Raise the first problem found in the given halves. Raises ModelUnfit (exit 4)."""
        for problem in self.problems(*halves):
            raise problem

    def problems(self, *halves: Half) -> Iterator[ModelUnfit]:
        """Everything that makes this checkpoint unusable for the given stages (both if none is named)."""
        parts = [name for name, part in PARTS.items() if part.half in (halves or HALVES)]
        checks: list[Callable[[], None]] = [partial(self._check_part, part) for part in parts]
        if set(BACKBONES.values()) <= set(parts):
            checks.append(self._check_codebooks)
        try:
            self._check_index(parts)
        except ModelUnfit as problem:
            yield problem
            return
        for check in checks:
            try:
                check()
            except ModelUnfit as problem:
                yield problem
            except OSError as error:
                yield self.unfit(f"{error.filename} cannot be read: {error.strerror}")

    def fingerprint(self) -> str:
        """Identity of the weights, `AR half-DiT half`, 16 hex digits each, `none` for a half that is not there.

        Configurations, headers and 64 kB spread over each weight file tell fine-tunes apart without reading 36 GB.
        """
        return "-".join(self.half_fingerprint(half) for half in HALVES)

    def half_fingerprint(self, half: Half) -> str:
        digest = hashlib.sha256()
        try:
            for part in (name for name, part in PARTS.items() if part.half == half):
                digest.update(json.dumps(self.config(part), sort_keys=True).encode())
                for file in self.weight_files(part):
                    digest.update(_sample(file))
        except (ModelUnfit, OSError):
            return "none"
        return digest.hexdigest()[:16]

    def unfit(self, reason: str, fix: str = "") -> ModelUnfit:
        """The error for a checkpoint with this fault. fix: what to do other than fetch it again"""
        fix = fix or (f"glmimg models pull {shell_words(self.id)}" if self.revision else "Download it again")
        return ModelUnfit(
            f"model {self.id}: {reason}", f"{fix}; glmimg models check {shell_words(self.folder)} lists every fault."
        )

    def pointer(self, file: Path) -> ModelUnfit:
        """The error for a file that Git LFS has not replaced by its content."""
        name = file.relative_to(self.folder)
        return ModelUnfit(
            f"model {self.id}: {name} is a Git LFS pointer, not the file itself",
            "Download the files themselves: git lfs pull, or glmimg models pull HUB_ID.",
        )

    def _read_config(self, path: Path, may_hold: allowed.Allowed) -> dict[str, Any]:
        values = self._read_json(path)
        if problem := may_hold.problem(values):
            raise self.unfit(f"{path.relative_to(self.folder)}: {problem}", "Fix the file, or download it again")
        return values

    def _read_json(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.folder)
        try:
            if path.exists() and not path.is_file():
                raise self.unfit(f"{name} is not a file")
            with path.open("rb") as stream:
                text = stream.read(_MAX_JSON_BYTES)
            if text.startswith(_POINTER):
                raise self.pointer(path)
            value = json.loads(text)
        except FileNotFoundError as error:
            raise self.unfit(f"{name} is missing") from error
        except OSError as error:
            raise self.unfit(f"{name} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise self.unfit(f"{name} is not JSON: {excerpt(str(error))}") from error
        if not isinstance(value, dict):
            raise self.unfit(f"{name} is not a JSON object")
        return value

    def _check_index(self, parts: list[str]) -> None:
        index = self._read_json(self.folder / "model_index.json")
        for part in parts:
            entry, expected = index.get(part), PARTS[part].class_name
            name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
            if name != expected:
                found = f"is of class {name}" if name else "is not named"
                raise self.unfit(f"model_index.json: {part} {found}, a GLM-Image has {expected}")

    def _check_part(self, part: str) -> None:
        method = self.compressed_by(part)
        if method and (package := allowed.missing_reader(method)):
            raise ModelUnfit(
                f"model {self.id}: {part} is quantized with {method}, which needs {package} (not installed)",
                f"Install it: pip install {package}",
            )
        for file in sorted((self.folder / part).iterdir()):
            if file.is_file() and _first_bytes(file, len(_POINTER)) == _POINTER:
                raise self.pointer(file)
        for file in self.weight_files(part):
            self.read_header(file)

    def read_header(self, file: Path) -> tuple[dict[str, Any], int]:
        """The tensors of a safetensors header, checked against the file, and where in the file the data start.

        raises: ModelUnfit (exit 4) for a damaged file
        source: the format's README: u64 length, JSON, data
        """
        name = file.relative_to(self.folder)
        try:
            with safe_open(file, "np"):  # holds the header against the file
                pass
        except SafetensorError as error:
            if _first_bytes(file, len(_POINTER)) == _POINTER:
                raise self.pointer(file) from error
            raise self.unfit(f"{name} is damaged: {excerpt(str(error))}") from error
        except OSError as error:
            raise self.unfit(f"{name} cannot be read: {error.strerror or excerpt(str(error))}") from error
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        return {name: tensor for name, tensor in header.items() if name != "__metadata__"}, 8 + length

    def _check_codebooks(self) -> None:
        if self.codebook_size != self.decoder_codebook_size:
            raise self.unfit(
                f"its AR model and decoder do not match: {self.codebook_size} and {self.decoder_codebook_size} codes"
            )


def _first_bytes(file: Path, count: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(count)


def _sample(file: Path) -> bytes:
    """The header and 16 evenly spaced blocks of a weight file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        blocks = [stream.read(min(length, size, _MAX_JSON_BYTES))]
        for probe in range(_PROBES):
            stream.seek(size * probe // _PROBES)
            blocks.append(stream.read(_PROBE_BYTES))
    return b"".join(blocks)
