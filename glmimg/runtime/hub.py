"""The checkpoints on this machine, and those of the model hub: downloaded and removed through huggingface_hub."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmimg.errors import ModelMissing, UsageError
from glmimg.events import Fetched, Watch
from glmimg.runtime import modelscope
from glmimg.runtime.checkpoint import FILE_PATTERNS, PARTS, Checkpoint
from glmimg.runtime.resolve import DEMO, is_hub_id, resolve
from glmimg.text import excerpt, shell_words

REFUSALS = {
    401: ("the hub does not accept the token", "Give a valid one: hf auth login, or HF_TOKEN."),
    403: ("the hub forbids it", "Ask its owner for access, then give a token that may read it: hf auth login."),
    429: ("the hub gets too many requests from here", "Wait a few minutes, or give a token: hf auth login."),
}
"""What an HTTP status of the hub means, and what to do about it; from 500 on the fault is the hub's."""

AGAIN = "Run the same command again when the network is back: complete files are kept, the others are downloaded again."


@dataclass(frozen=True)
class FoundModel:
    """A checkpoint on this machine. problems is empty for a complete one."""

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
    """The demo first, then every GLM-Image in the hub cache, complete or not."""
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


def pull_model(
    hub_id: str,
    revision: str | None,
    local_dir: Path | None = None,
    watch: Watch | None = None,
    *,
    show_progress: bool,
) -> Checkpoint:
    """Download what is missing of a checkpoint into the hub cache, or into a separate folder.

    watch:  is told how much is here, instead of the bars that `show_progress` shows; not by ModelScope's client
    raises: UsageError (exit 2) for no hub id; ModelMissing (exit 4) when the hub does not give it;
            ModelUnfit (exit 4) if the download is not a GLM-Image
    """
    _check_hub_id(hub_id.removeprefix(modelscope.PREFIX))
    if hub_id.startswith(modelscope.PREFIX):
        return modelscope.pull_model(hub_id, revision, local_dir)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    # Whichever HTTP library the client uses, its base error is one of these.
    bases = (base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))
    failures: tuple[type[Exception], ...] = (ValueError, *bases)
    (enable_progress_bars if show_progress or watch else disable_progress_bars)()
    told: dict[str, Any] = {"tqdm_class": _bar_that_tells(watch)} if watch else {}
    try:
        fetched = snapshot_download(
            hub_id, revision=revision, allow_patterns=FILE_PATTERNS, local_dir=local_dir, **told
        )
    except failures as error:
        raise _explain(hub_id, revision, error) from error
    folder = Path(fetched)
    checkpoint = Checkpoint(str(folder.absolute()), folder) if local_dir else Checkpoint(hub_id, folder, folder.name)
    checkpoint.check()
    return checkpoint


def _bar_that_tells(watch: Watch) -> type[Any]:
    """A bar for the hub's client that is told instead of drawn."""
    from huggingface_hub.utils.tqdm import tqdm

    class Told(tqdm):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **{**settings, "disable": False, "file": io.StringIO()})  # type: ignore[no-untyped-call]

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            watch(Fetched(self.desc.removesuffix(": "), self.unit.strip(), self.n, self.total or None))

    return Told


def remove_model(hub_id: str, revision: str | None) -> int:
    """Remove a model, or one revision of it, from the hub cache. Returns the bytes freed.

    revision: a branch, a tag or a commit
    raises:   UsageError (exit 2) for no hub id; ModelMissing (exit 4) for what is not there
    """
    _check_hub_id(hub_id)
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound as error:
        raise ModelMissing(f"model {hub_id} is not on this machine", "glmimg models lists what is.") from error
    there = [
        each for repo in cache.repos if repo.repo_id == hub_id and repo.repo_type == "model" for each in repo.revisions
    ]
    chosen = [each for each in there if revision is None or revision in (each.commit_hash, *each.refs)]
    if not chosen:
        at = f" at revision {revision}" if revision else ""
        raise ModelMissing(f"model {hub_id} is not on this machine{at}", "glmimg models lists what is.")
    plan = cache.delete_revisions(*(each.commit_hash for each in chosen))
    plan.execute()
    return int(plan.expected_freed_size)


def _check_hub_id(hub_id: str) -> None:
    if hub_id == DEMO:
        raise UsageError("the demo model ships with glmimg", "Use it: glmimg t2i 'a red circle' --model demo")
    if not is_hub_id(hub_id):
        raise UsageError(f"{hub_id!r} is not a hub id", "For example: glmimg models pull zai-org/GLM-Image")


def _explain(hub_id: str, revision: str | None, error: Exception) -> ModelMissing:
    """The error for an exception of the hub's client, with what the hub answered."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    said: BaseException | None = error
    while said is not None and not isinstance(said, HfHubHTTPError):
        said = said.__cause__ or said.__context__
    if isinstance(said, GatedRepoError):
        sentence = excerpt(said.server_message or "its owner grants access")
        hint = f"Ask for access at {ENDPOINT}/{hub_id}, then give a token: hf auth login"
        return ModelMissing(f"{hub_id} is gated: {sentence}", hint)
    if isinstance(said, RepositoryNotFoundError):
        return ModelMissing(f"the hub has no model {hub_id}", "Check the name; a private model needs HF_TOKEN.")
    if isinstance(said, RevisionNotFoundError):
        return ModelMissing(f"{hub_id} has no revision {revision}", "Give a branch, a tag, or a commit hash.")
    if isinstance(said, HfHubHTTPError) and said.response is not None:
        status = said.response.status_code
        trouble = ("the hub has a problem", f"Try again later: glmimg models pull {shell_words(hub_id)}")
        words, hint = REFUSALS.get(status, trouble if status >= 500 else ("the hub refused", AGAIN))
        return ModelMissing(f"{hub_id} could not be downloaded: {words} ({status})", hint)
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelMissing(f"{hub_id} could not be downloaded: {excerpt(reason)}", AGAIN)
