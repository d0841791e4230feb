"""The GLM-Image checkpoints this machine holds: the demo and what the hub cache has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmimg.runtime.checkpoint import PARTS, Checkpoint
from glmimg.runtime.resolve import DEMO, resolve

GLM_IMAGE = PARTS["transformer"].class_name.encode()
"""What the `model_index.json` of a GLM-Image names, also of a damaged one."""


@dataclass(frozen=True)
class FoundModel:
    """A checkpoint on this machine. problems is empty for a whole one."""

    id: str
    revision: str | None
    folder: Path
    bytes: int
    problems: tuple[str, ...]

    @property
    def state(self) -> str:
        return "whole" if not self.problems else f"incomplete: {self.problems[0].partition(': ')[2]}"

    @property
    def size_text(self) -> str:
        from rich.filesize import decimal

        return decimal(self.bytes)

    def fields(self) -> dict[str, Any]:
        return {
            "model": self.id,
            "revision": self.revision,
            "folder": str(self.folder),
            "bytes": self.bytes,
            "whole": not self.problems,
            "problems": list(self.problems),
        }


def find_models() -> list[FoundModel]:
    """The demo first, then every GLM-Image in the hub cache, whole or not."""
    return [_describe(checkpoint) for checkpoint in (resolve(DEMO), *_cached_checkpoints())]


def _cached_checkpoints() -> Iterator[Checkpoint]:
    """Read off the folders: `scan_cache_dir` leaves out a whole repository once a fetch of it broke off early.

    source: huggingface_hub's guide to its cache, `models--OWNER--NAME/snapshots/COMMIT`
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    for folder in sorted(Path(HF_HUB_CACHE).resolve().glob("models--*--*/snapshots/*")):
        if (folder / "model_index.json").exists() and _is_glm_image(folder):
            _, owner, name = folder.parents[1].name.split("--", 2)
            yield Checkpoint(f"{owner}/{name}", folder, folder.name)


def _is_glm_image(folder: Path) -> bool:
    return PARTS["transformer"].class_name in (folder / "model_index.json").read_text(
        encoding="utf-8", errors="replace"
    )


def _describe(checkpoint: Checkpoint) -> FoundModel:
    files = [path for path in checkpoint.folder.rglob("*") if path.is_file()]
    return FoundModel(
        checkpoint.id,
        checkpoint.revision,
        checkpoint.folder,
        sum(path.stat().st_size for path in files),
        tuple(problem.message for problem in checkpoint.problems()),
    )
