"""Checkpoints of ModelScope, through its own client: `modelscope:owner/name` names one.

source: modelscope_hub's `HubApi`
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.errors import ModelMissing, UsageError
from glmimg.runtime.checkpoint import FILE_PATTERNS, Checkpoint
from glmimg.text import excerpt, how_to_install, shell_words

if TYPE_CHECKING:
    from modelscope_hub import HubApi

PREFIX = "modelscope:"


def pull_model(name: str, revision: str | None, local_dir: Path | None = None) -> Checkpoint:
    """Download what is missing of a checkpoint into ModelScope's cache, or into a separate folder.

    raises: UsageError (exit 2) without the client; ModelMissing (exit 4) when ModelScope does not give it;
            ModelUnfit (exit 4) if the download is not a GLM-Image
    """
    from requests import RequestException

    api, repository = _client(), name.removeprefix(PREFIX)
    from modelscope_hub import HubError

    try:
        folder = api.download_repo(
            repository, "model", revision=revision, local_dir=local_dir, allow_patterns=FILE_PATTERNS
        )
    except (HubError, RequestException, OSError) as error:
        again = "Check the name and the network, then run the same command again: complete files are kept."
        raise ModelMissing(f"{name} could not be downloaded: {excerpt(str(error).splitlines()[0])}", again) from error
    checkpoint = Checkpoint(str(folder.absolute()), folder) if local_dir else Checkpoint(name, folder, folder.name)
    checkpoint.check()
    return checkpoint


def find_cached(name: str, revision: str | None) -> Checkpoint:
    """The downloaded files of a model. Raises UsageError (exit 2) without the client, ModelMissing (exit 4)."""
    api = _client()
    from modelscope_hub import HubError

    try:
        folder = api.download_repo(name.removeprefix(PREFIX), "model", revision=revision, local_files_only=True)
    except HubError as error:
        at = f" --revision {shell_words(revision)}" if revision else ""
        hint = f"Download it: glmimg models pull {shell_words(name)}{at}"
        raise ModelMissing(f"model {name} is not on this machine", hint) from error
    return Checkpoint(name, folder, folder.name)


def _client() -> HubApi:
    try:
        from modelscope_hub import HubApi
    except ImportError as error:
        raise UsageError("ModelScope's client is not installed", how_to_install("modelscope")) from error
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)  # what it would print is raised too
    return HubApi()
