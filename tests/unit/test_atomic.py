"""Whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glmimg.atomic import clear_killed, write_atomically
from glmimg.errors import NameTaken, WriteError


def test_replaces_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_came_meanwhile_is_left_alone(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"theirs")
    link.symlink_to(tmp_path / "nowhere")
    for path in (there, link):
        with pytest.raises(NameTaken, match="in the meantime"):
            write_atomically(path, b"mine", replace=False)
    assert there.read_bytes() == b"theirs"
    assert link.is_symlink()
    assert not link.exists()
    assert {*tmp_path.iterdir()} == {there, link}
    write_atomically(tmp_path / "new", b"mine", replace=False)
    assert (tmp_path / "new").stat().st_nlink == 1


def test_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    write_atomically(tmp_path / "x", b"one", replace=False)
    with pytest.raises(NameTaken):
        write_atomically(tmp_path / "x", b"two", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"one"]


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["🌊" * 61 + ".png", "é" * 120 + ".png", "a" * 255])
def test_long_names_are_counted_in_bytes(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_clearing_a_long_name_leaves_its_neighbours_work(tmp_path: Path) -> None:
    first, second = (tmp_path / ("a long prompt " * 12 + end) for end in ("1.png", "2.png"))
    begun: list[Path] = []

    def note_part(path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: begun.extend(tmp_path.glob(".*.part")))
            write_atomically(path, b"x")

    note_part(first)
    part = begun[0]
    part.write_bytes(b"being written")
    clear_killed(second)
    assert part.exists()
    clear_killed(first)
    assert not part.exists()
