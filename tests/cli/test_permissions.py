"""What may not be read, as anybody but root meets it: one message that names it, and the right status."""

from __future__ import annotations

import ctypes
import multiprocessing
import shutil
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.conftest import Outcome

CAPABILITY_VERSION_3, OF_ROOT = 0x20080522, (1 << 1) | (1 << 2)
"""Of Linux: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads whatever there is."""

DRAW = ("t2i", "x", "-m", "./model", "-s", "64x64", "--steps", "1", "-o", "out/x.png")
WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"


def unprivileged(glmimg: Callable[..., Outcome], *arguments: str) -> Outcome:
    """The program in a process of its own, without what root may and others may not."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_run, args=(glmimg, arguments, theirs))
    process.start()
    theirs.close()
    outcome: Outcome = ours.recv()
    process.join()
    return outcome


def _run(glmimg: Callable[..., Outcome], arguments: tuple[str, ...], answer: Connection) -> None:
    libc, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    libc.capget(header, held)
    held[0] &= ~OF_ROOT
    assert libc.capset(header, held) == 0
    answer.send(glmimg(*arguments))


@pytest.mark.parametrize(
    ("closed", "command", "status"),
    [
        (WEIGHTS, DRAW, 4),
        (WEIGHTS, ("models", "check", "./model"), 4),
        (WEIGHTS, ("batch", "jobs.txt", "-m", "./model", "-o", "out"), 4),
        ("model/transformer/config.json", DRAW, 4),
        ("model/transformer", DRAW, 4),
        ("model", ("models", "check", "./model"), 4),
        ("model/processor/tokenizer.json", DRAW, 4),
        ("jobs.txt", ("batch", "jobs.txt", "-m", "./model", "-o", "out"), 3),
        ("jobs.txt", ("resume", "jobs.txt", "-m", "./model"), 3),
        ("jobs.txt", ("edit", "x", "-i", "jobs.txt", "-m", "./model"), 3),
        ("out", DRAW, 2),
    ],
)
def test_what_may_not_be_read_is_named(
    tiny: Path, tmp_path: Path, glmimg: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch,
    closed: str, command: tuple[str, ...], status: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, "model")
    Path("jobs.txt").write_text("x\n")
    Path("out").mkdir()
    for path in (tmp_path, Path("out")):
        path.chmod(0o777)
    Path(closed).chmod(0)
    ended = unprivileged(glmimg, *command)
    assert ended.status == status, ended.err
    assert "This is a bug" not in ended.err
    assert Path(closed).name in ended.err
