"""Unfinished work: what a long stage has so far, saved beside its output so that another run can resume it.

`OUTPUT.part` is one safetensors file: tensors, and a header that describes them. It is no dump and no picture,
and is removed once its output is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glmimg.atomic import clear_killed, write_atomically
from glmimg.choice import ModelChoice
from glmimg.errors import BadInput, Interrupted, OutputError, WriteError
from glmimg.events import Noted, Watch, unwatched
from glmimg.files import open_regular
from glmimg.grid import Role
from glmimg.job import Job, Positive
from glmimg.request import problem_of
from glmimg.text import shell_words
from glmimg.tokens.dump import TokenDump

if TYPE_CHECKING:
    import torch

ENDING = ".part"
HEADER = "glmimg.unfinished"
MAX_HEADER = 100_000_000
"""Bytes; that of the format itself. The dump of the largest picture takes a hundredth of it."""

VARIABLE, SECONDS = "GLMIMG_PART_SECONDS", 30.0
"""Seconds between two saves of unfinished work, and the variable that changes this interval."""


class Unfinished(BaseModel):
    """A stage's work, and how far it got.

    fingerprint, choice: the weights, and how they were loaded
    until:      the last grid stage 1 draws
    dump, grid: what stage 2 paints; None in stage 1
    done:       tokens, or denoising steps, out of `total`
    where:      device and precision
    seconds, passes: what it took
    state:      what the stage resumes from; tensors are referred to by their names in the file
    sha256:     of state and tensors
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    version: Literal[1] = 1
    job: Job
    fingerprint: str
    choice: ModelChoice
    until: Role = "target"
    dump: TokenDump | None = None
    grid: Role = "target"
    done: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    total: Positive = 1
    where: str = ""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    passes: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    state: dict[str, Any] = {}
    sha256: str = ""

    @property
    def stage(self) -> str:
        return "tokens" if self.dump is None else "picture"

    @property
    def work(self) -> tuple[object, ...]:
        """What decides the result; two states of the same work can resume each other."""
        drawn = self.job.drawn
        what = (drawn.scene, drawn.sampling, self.until) if self.dump is None else (drawn, self.dump.grids, self.grid)
        return self.stage, *what, self.fingerprint, self.choice.changes


@dataclass(frozen=True)
class Part:
    """The .part file of an output. A stage reads and writes it; for a worker's stage, the client keeps the file."""

    path: Path
    work: Unfinished

    def check(self, *, force: bool = False) -> None:
        """Refuse a file of other work at this path; with `force`, remove it. Raises OutputError (exit 2)."""
        if not os.path.lexists(self.path) or self.done is not None:
            return
        if not force:
            hint = f"Finish it (glmimg resume {shell_words(self.path)}), remove it, or use --force."
            raise OutputError(f"{self.path} is unfinished work of a different job", hint)
        self.clear()

    @property
    def done(self) -> int | None:
        """How far this work was saved there; None if it was not."""
        return left.done if (left := self._left()) is not None else None

    def raw(self) -> bytes:
        """What was left there."""
        return self.path.read_bytes()

    def keep(self, raw: bytes) -> None:
        """Have that lie there. Raises WriteError (exit 1)."""
        write_atomically(self.path, raw)

    def _left(self) -> Unfinished | None:
        """What is there of this work, but for its tensors."""
        try:
            with open_regular(self.path, BadInput, "file of unfinished work") as file:
                left = parse_unfinished(file, self.path)
        except BadInput:
            return None
        return left if left.work == self.work.work else None

    def take(
        self, device: torch.device, dtype: torch.dtype, fits: Callable[[Unfinished], bool], watch: Watch
    ) -> Unfinished | None:
        """The saved work with its tensors on the device; None if there is nothing to resume from.

        fits: whether the stage can resume from a state
        """
        left = self._left()
        if left is None:
            return None
        if left.where != _where(device, dtype):
            watch(Noted(f"{self.path} was saved on {left.where}: starting over"))
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load

        with suppress(SafetensorError, LookupError, TypeError, ValueError, AttributeError):
            tensors = load(self.raw())
            found = left.model_copy(update={"state": _unpack(left.state, tensors, device)})
            if left.sha256 == _hash(left.state, tensors) and fits(found):
                return found
        watch(Noted(f"{self.path} is damaged: starting over"))
        return None

    def leave(self, device: torch.device, dtype: torch.dtype, state: dict[str, Any], **how_far: Any) -> None:
        """Save the current state. state: of tensors, lists and JSON values. Raises WriteError (exit 1)."""
        from safetensors.torch import save

        tensors: dict[str, torch.Tensor] = {}
        packed = _pack(state, tensors)
        how_far |= {"where": _where(device, dtype), "state": packed, "sha256": _hash(packed, tensors)}
        header = self.work.model_copy(update=how_far).model_dump_json(by_alias=True)
        self.keep(save(tensors, {HEADER: header}))

    def clear(self) -> None:
        """Remove the file once its output is written, and incomplete copies of it."""
        self.path.unlink(missing_ok=True)
        clear_killed(self.path)


def read_unfinished(path: Path) -> Unfinished:
    """The description in a file of unfinished work, without its tensors. Raises BadInput (exit 3)."""
    with open_regular(path, BadInput, "file of unfinished work") as file:
        return parse_unfinished(file, path)


def parse_unfinished(file: IO[bytes], path: Path) -> Unfinished:
    """As `read_unfinished`, of a file that is open; messages call it `path`."""
    length = int.from_bytes(file.read(8), "little")
    raw = file.read(length) if length <= MAX_HEADER else b""
    try:
        return Unfinished.model_validate_json(json.loads(raw)["__metadata__"][HEADER])
    except ValidationError as error:
        raise BadInput(path, f"its header is damaged, or of another glmimg: {problem_of(error)}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(path, "contains no unfinished work of glmimg") from error


def is_unfinished(path: Path) -> bool:
    """Whether a file is named like one of unfinished work."""
    return path.suffix == ENDING


def holds_unfinished(path: Path) -> bool:
    """Whether a file exists and is one of unfinished work, whatever the work."""
    try:
        return path.exists() and bool(read_unfinished(path))
    except BadInput:
        return False


@contextmanager
def kept(leave: Callable[[], None], watch: Watch) -> Iterator[Callable[[], None]]:
    """Call `leave` at Ctrl-C, and every half minute when the stage calls the yielded function.

    It is written too where a watch raises Interrupted: in a worker, whose client has left.
    """
    pause = float(os.environ.get(VARIABLE, SECONDS))
    due = time.monotonic() + pause

    def look() -> None:
        nonlocal due
        if (started := time.monotonic()) >= due:
            try_to_leave(leave, watch)
            ended = time.monotonic()
            due = ended + pause * max(1.0, ended - started)

    try:
        yield look
    except (KeyboardInterrupt, Interrupted) as error:
        try_to_leave(leave, watch if isinstance(error, KeyboardInterrupt) else unwatched)
        raise


def try_to_leave(leave: Callable[[], None], watch: Watch) -> None:
    """Have what is unfinished written; where it cannot be, that is said, and the work itself goes on."""
    try:
        leave()
    except WriteError as error:
        watch(Noted(f"unfinished work cannot be saved: {error.message}"))


def _where(device: torch.device, dtype: torch.dtype) -> str:
    return f"{device.type} {str(dtype).removeprefix('torch.')}"


def _pack(state: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A state as JSON, with its tensors collected by name."""
    if isinstance(state, dict):
        return {name: _pack(each, tensors) for name, each in state.items()}
    if isinstance(state, list):
        return [_pack(each, tensors) for each in state]
    if not hasattr(state, "device"):
        return state
    name = f"tensor{len(tensors):02}"
    tensors[name] = state.detach().cpu().contiguous().clone()
    return {"tensor": name, "on": "cpu" if state.device.type == "cpu" else "device"}


def _unpack(state: Any, tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    if isinstance(state, list):
        return [_unpack(each, tensors, device) for each in state]
    if not isinstance(state, dict):
        return state
    if "tensor" in state:
        tensor = tensors[state["tensor"]]
        return tensor if state["on"] == "cpu" else tensor.to(device)
    return {name: _unpack(each, tensors, device) for name, each in state.items()}


def _hash(state: Any, tensors: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
