"""Fetching a checkpoint from the model hub, through huggingface_hub, which resumes what broke off."""

from __future__ import annotations

from pathlib import Path

from glmimg.errors import ModelMissing, UsageError
from glmimg.runtime.checkpoint import FILE_PATTERNS, Checkpoint
from glmimg.runtime.resolve import DEMO, is_hub_id


def pull_model(hub_id: str, revision: str | None, *, show_progress: bool) -> Checkpoint:
    """Fetch what is missing of a checkpoint into the hub cache.

    raises: UsageError (exit 2) for no hub id; ModelMissing (exit 4) when the hub has no such model or revision,
            or cannot be reached; ModelUnfit (exit 4) when what came is no GLM-Image
    """
    if hub_id == DEMO:
        raise UsageError("the demo model ships with glmimg", "Use it: glmimg t2i 'a red circle' --model demo")
    if not is_hub_id(hub_id):
        raise UsageError(f"{hub_id!r} is not a hub id", "For example: glmimg models pull zai-org/GLM-Image")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if show_progress else disable_progress_bars)()
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=FILE_PATTERNS))
    except RepositoryNotFoundError as error:
        raise ModelMissing(f"the hub has no model {hub_id}", "Check the name; a private one needs HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise ModelMissing(f"{hub_id} has no revision {revision}", "Give a branch, a tag, or a commit hash.") from error
    except _transport_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelMissing(
            f"{hub_id} could not be fetched: {reason}",
            "Run the same command again when the network is there: what has come so far is kept.",
        ) from error
    checkpoint = Checkpoint(hub_id, folder, folder.name)
    checkpoint.check()
    return checkpoint


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a broken connection raises: with the HTTP library's own base error, whichever the hub client uses."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    return (LocalEntryNotFoundError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))
