"""Names are one run's own before it begins; what others made is never overwritten."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glmimg.engine.output_files import OutputFiles
from glmimg.errors import NameTaken, OutputError

HOLD = """
import sys, time
from pathlib import Path
from glmimg.engine.output_files import OutputFiles
files = OutputFiles()
files.take(map(Path, sys.argv[1:]))
print("taken", flush=True)
time.sleep(60)
"""


def test_a_name_belongs_to_one_run(tmp_path: Path) -> None:
    pair = [tmp_path / "x.png", tmp_path / "x.tokens.json"]
    with OutputFiles() as one, OutputFiles() as other:
        one.take(pair)
        one.take(pair)
        with pytest.raises(OutputError, match=r"x\.tokens\.json is being written by another"):
            other.take(pair[1:])
        other.take([tmp_path / "y.png"])
        one.write(pair[0], b"mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png"]
    with OutputFiles() as again, pytest.raises(OutputError, match="exists already"):
        again.take(pair)
    with OutputFiles(force=True) as forced:
        forced.take(pair)
        forced.write(pair[0], b"anew")
    assert pair[0].read_bytes() == b"anew"


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    names = [tmp_path / "x.png", tmp_path / "x.tokens.json"]
    process = subprocess.Popen([sys.executable, "-c", HOLD, *names], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    with OutputFiles() as files, pytest.raises(OutputError, match="another glmimg"):
        files.take(names)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with OutputFiles() as files:
        files.take(names)
    assert list(tmp_path.iterdir()) == []


def test_what_was_drawn_for_a_name_taken_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.tokens.json"
    with OutputFiles() as files:
        files.take([path])
        path.write_bytes(b"theirs")
        (tmp_path / "x-2.tokens.json").write_bytes(b"theirs too")
        with pytest.raises(NameTaken) as caught:
            files.write(path, b"mine")
    assert str(tmp_path / "x-3.tokens.json") in caught.value.hint
    assert path.read_bytes() == b"theirs"
    assert (tmp_path / "x-3.tokens.json").read_bytes() == b"mine"


def test_a_folder_that_does_not_lock_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refused)
    with OutputFiles() as files:
        files.take([tmp_path / "x.png"])
        files.write(tmp_path / "x.png", b"mine")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
