"""Every error a user can meet: what happened, to which input, and what to do about it.

Only `glmimg.cli.main` prints errors and exits with their code; everything below raises.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class GlmimgError(Exception):
    """A failure while running. Base of every error glmimg raises on purpose.

    message: one sentence, what happened and to which input
    hint:    what to do next, a sentence or a command; empty if there is nothing to do
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def told(self) -> str:
        """The message for another program, with the hint unless that is about a command line."""
        is_plain = self.hint and "glmimg" not in self.hint and "--" not in self.hint
        return f"{self.message}. {self.hint}" if is_plain else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), self.message), vars(self)  # type: ignore[attr-defined]


class WriteError(GlmimgError):
    """An output could not be written (exit 1). No incomplete file is left at its path."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}", "Free some space or choose another place.")
        self.path = path


class NameTaken(WriteError):
    """A file appeared at an output's path while it was drawn; that file is left unchanged (exit 1)."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, "another program has put a file there in the meantime")
        self.hint = "Overwrite it with --force, or choose another name."


class UsageError(GlmimgError):
    """The command line asks for something impossible (exit 2)."""

    exit_code = 2


class SizeError(UsageError):
    """A picture size the model cannot draw (exit 2)."""


class OutputError(UsageError):
    """An output path that cannot be used; found before any weight loads (exit 2)."""


class BadInput(GlmimgError):
    """An input file is not what it should be (exit 3)."""

    exit_code = 3

    def __init__(self, path: Path | str, reason: str, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}", hint)
        self.path = path
        self.reason = reason


class BadDump(BadInput):
    """A token dump that is damaged, of a newer version, or for another model (exit 3)."""


class BadImage(BadInput):
    """A source picture that cannot be read, or a picture without the metadata asked for (exit 3)."""


class BadPreset(BadInput):
    """A preset that does not exist or has invalid contents (exit 3)."""


class BadConfig(BadInput):
    """A config file with invalid contents (exit 3)."""


class BadPrompts(BadInput):
    """A prompt file, or standard input, without prompts or that is not text (exit 3)."""


class BadJobs(BadInput):
    """A job list that is empty or has bad lines (exit 3). lines: (number, what is wrong) of each bad line."""

    def __init__(self, path: Path | str, lines: Sequence[tuple[int, str]]) -> None:
        listed = "".join(f"\n  line {number}: {reason}" for number, reason in lines)
        reason = f"{len(lines)} of its lines cannot be used:{listed}" if lines else "contains no jobs"
        hint = "Fix them, or leave them out with --skip-bad." if lines else "Write one job or one prompt per line."
        super().__init__(path, reason, hint)
        self.lines = tuple(lines)


class ModelError(GlmimgError):
    """The model is missing or unusable (exit 4)."""

    exit_code = 4


class ModelMissing(ModelError):
    """No such checkpoint on this machine (exit 4)."""


class ModelUnfit(ModelError):
    """A checkpoint that is incomplete, damaged, or not a GLM-Image (exit 4)."""


class JobsFailed(GlmimgError):
    """Some jobs of a batch failed, the rest are done (exit 1)."""


class NotFinite(GlmimgError):
    """The model's numbers became NaN or infinite, so there is nothing to draw (exit 1)."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} are not finite (NaN or infinity)",
            "Try --dtype fp32 or --dtype bf16; if it happens there too, check the weights: glmimg models check MODEL.",
        )


class EnhanceFailed(GlmimgError):
    """A language model gave no prompt to draw (exit 1)."""


class DeviceLost(GlmimgError):
    """The accelerator failed in a way that only a new process recovers from (exit 1)."""


class ClusterUnavailable(GlmimgError):
    """The cluster does not answer, or the library for it is not installed (exit 1)."""


class WorkerUnavailable(GlmimgError):
    """No worker can be started or reached here (exit 1)."""


class WorkerLost(GlmimgError):
    """A worker died during its work (exit 1)."""


class OutOfMemory(GlmimgError):
    """The device or the host ran out of memory (exit 5). is_planned: it was predicted, and nothing was tried."""

    exit_code = 5

    def __init__(self, message: str, hint: str = "", *, is_planned: bool = False) -> None:
        super().__init__(message, hint)
        self.is_planned = is_planned


class Interrupted(GlmimgError):
    """Ctrl-C (exit 130). The message says what was finished and kept."""

    exit_code = 130
