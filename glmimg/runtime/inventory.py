"""The GLM-Image checkpoints this machine holds: the demo and what the hub cache has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmimg.runtime.checkpoint import PARTS, Checkpoint
from glmimg.runtime.resolve import DEMO, resolve


@dataclass(frozen=True)
class FoundModel:
    """A checkpoint on this machine. problems is empty for a whole one."""

    checkpoint: Checkpoint
    bytes: int
    problems: list[str]

    @property
    def state(self) -> str:
        return "whole" if not self.problems else f"incomplete: {self.problems[0].partition(': ')[2]}"

    def fields(self) -> dict[str, Any]:
        return {
            "model": self.checkpoint.id,
            "revision": self.checkpoint.revision,
            "folder": str(self.checkpoint.folder),
            "bytes": self.bytes,
            "whole": not self.problems,
            "problems": self.problems,
        }


def find_models() -> Iterator[FoundModel]:
    """The demo first, then every GLM-Image in the hub cache, whole or not."""
    for checkpoint in (resolve(DEMO), *_cached_checkpoints()):
        size = sum(path.stat().st_size for path in checkpoint.folder.rglob("*") if path.is_file())
        yield FoundModel(checkpoint, size, [problem.message for problem in checkpoint.problems()])


def _cached_checkpoints() -> Iterator[Checkpoint]:
    """Read off the folders: `scan_cache_dir` leaves out a whole repository once a fetch of it broke off early.

    source: huggingface_hub's guide to its cache, `models--OWNER--NAME/snapshots/COMMIT`
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    name = PARTS["transformer"].class_name.encode()  # also in a damaged index
    for folder in sorted(Path(HF_HUB_CACHE).resolve().glob("models--*--*/snapshots/*")):
        if (index := folder / "model_index.json").exists() and name in index.read_bytes():
            _, owner, repository = folder.parents[1].name.split("--", 2)
            yield Checkpoint(f"{owner}/{repository}", folder, folder.name)
