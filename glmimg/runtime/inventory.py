"""The GLM-Image checkpoints this machine holds: the demo and what the hub cache has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmimg.runtime.checkpoint import CLASSES, Checkpoint
from glmimg.runtime.resolve import DEMO, resolve


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
        for unit, size in (("GB", 1e9), ("MB", 1e6)):
            if self.bytes >= size:
                return f"{self.bytes / size:.1f} {unit}"
        return f"{self.bytes / 1e3:.0f} kB"

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
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        for revision in repo.revisions:
            folder = Path(revision.snapshot_path)
            if repo.repo_type == "model" and (folder / "model_index.json").exists() and _is_glm_image(folder):
                yield Checkpoint(repo.repo_id, folder, revision.commit_hash)


def _is_glm_image(folder: Path) -> bool:
    return CLASSES["transformer"] in (folder / "model_index.json").read_text(encoding="utf-8", errors="replace")


def _describe(checkpoint: Checkpoint) -> FoundModel:
    files = [path for path in checkpoint.folder.rglob("*") if path.is_file()]
    return FoundModel(
        checkpoint.id,
        checkpoint.revision,
        checkpoint.folder,
        sum(path.stat().st_size for path in files),
        tuple(problem.message for problem in checkpoint.problems()),
    )
