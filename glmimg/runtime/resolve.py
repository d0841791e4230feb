"""From a model's name to a checkpoint on this machine. Never uses the network."""

from __future__ import annotations

import os
import re
from pathlib import Path

from glmimg.errors import ModelMissing, UsageError
from glmimg.runtime import modelscope
from glmimg.runtime.checkpoint import FILE_PATTERNS, Checkpoint
from glmimg.text import shell_words

DEFAULT_MODEL = "zai-org/GLM-Image"
DEMO = "demo"
KNOWN_SIZES = {DEFAULT_MODEL: "35.8 GB"}
"""Known download sizes."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve(model: str | None = None, revision: str | None = None) -> Checkpoint:
    """The checkpoint meant by `model`: "demo", a directory, or a hub id (`modelscope:` before it) in the local cache.

    model:  None stands for the environment's GLMIMG_MODEL, else zai-org/GLM-Image
    raises: ModelMissing (exit 4) with how to fetch it; UsageError (exit 2) for no possible name
    """
    name = model or os.environ.get("GLMIMG_MODEL") or DEFAULT_MODEL
    if name == DEMO:
        from glmimg.demo import demo_path

        return Checkpoint(DEMO, demo_path())
    try:
        folder = find_path(name)
        if folder is not None and folder.is_dir():  # absolute, so that its dumps decode from any folder
            return Checkpoint(str(folder.absolute()), folder.absolute())
    except OSError as error:
        raise ModelMissing(f"model {name}: cannot be read: {error.strerror}", "Check who may read it.") from error
    if name.startswith((".", "~", "/")) or Path(name).is_absolute() or name.count("/") > 1:
        raise ModelMissing(f"model {name}: there is no such directory", "Give a directory, a hub id, or --model demo.")
    if not is_hub_id(name.removeprefix(modelscope.PREFIX)):
        raise UsageError(
            f"model {name!r} is neither a directory nor a hub id",
            f"For example --model {DEFAULT_MODEL}, or --model demo.",
        )
    return (modelscope.find_cached if name.startswith(modelscope.PREFIX) else _cached)(name, revision)


def find_path(name: str) -> Path | None:
    """The existing path, with `~` expanded; None if there is nothing. Raises OSError if it may not be accessed."""
    path = Path(os.path.expanduser(name))  # noqa: PTH111 (Path's own raises for a user there is not)
    return path if path.exists() else None


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name` of the model hub."""
    return _HUB_ID.fullmatch(name) is not None


def _cached(hub_id: str, revision: str | None) -> Checkpoint:
    """A snapshot that has every file `models pull` fetches, whatever else its repository holds."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=FILE_PATTERNS, local_files_only=True)
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:
        size = f" ({KNOWN_SIZES[hub_id]})" if hub_id in KNOWN_SIZES else ""
        at = f" --revision {shell_words(revision)}" if revision else ""
        # Only the IncompleteSnapshotError of huggingface_hub >= 1.22 says where the part lies.
        there, lacking = ("only partly", "the rest") if hasattr(error, "snapshot_path") else ("not", "it")
        raise ModelMissing(
            f"model {hub_id}{size} is {there} on this machine",
            f"Download {lacking}: glmimg models pull {shell_words(hub_id)}{at}   "
            "Or try --model demo, which needs no download.",
        ) from error
    return Checkpoint(hub_id, Path(folder), Path(folder).name)
