"""What the tests share: a tiny random checkpoint, and the program run in this process or in its own."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tiny import build_checkpoint

HOME = Path(tempfile.mkdtemp(prefix="glmimg-tests-"))
"""A home of the tests' own: whoever runs them has a config file, presets and a history that stay as they are."""

for _name in [name for name in os.environ if name.startswith("GLMIMG_")]:
    del os.environ[_name]
os.environ["GLMIMG_CONFIG"] = str(HOME / "session" / "config.yaml")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # one worker a core: threads of two workers would wait for each other


@dataclass(frozen=True)
class Outcome:
    """How a run of the program ended."""

    status: int
    out: str
    err: str


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing is skipped: a program or library that is missing there is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the config file, a fresh one for each test; it is made by whoever writes there."""
    monkeypatch.setenv("NO_COLOR", "1")
    folder = HOME / secrets.token_hex(8)
    monkeypatch.setenv("GLMIMG_CONFIG", str(folder / "config.yaml"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(HOME))  # no test finds a worker of somebody else
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint that stock diffusers can run."""
    return build_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def glmimg(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the program in this process, through its real `main`."""

    def run(*arguments: str | Path) -> Outcome:
        from glmimg.cli.main import main

        monkeypatch.setattr(sys, "argv", ["glmimg", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            main()
        captured = capfd.readouterr()
        assert isinstance(leaving.value.code, int)
        return Outcome(leaving.value.code, captured.out, captured.err)

    return run


def run_program(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    command = [sys.executable, "-m", "glmimg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]
