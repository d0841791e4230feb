"""Output names and the checks before anything loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmimg.cli.outputs import NameFields, check_outputs, dump_path_beside, name_outputs
from glmimg.errors import OutputError
from glmimg.text import slug

TWO = [NameFields("a Red Circle!", 7, 1), NameFields("蓝色的圆", 8, 2)]


def test_names() -> None:
    assert name_outputs("x.png", TWO[:1], ".png") == [Path("x.png")]
    assert name_outputs("x.png", TWO, ".png") == [Path("x-1.png"), Path("x-2.png")]
    assert name_outputs("{index:03}-{prompt}-{seed}.png", TWO, ".png") == [
        Path("001-a-red-circle-7.png"),
        Path("002-蓝色的圆-8.png"),
    ]
    assert name_outputs(None, TWO[:1], ".png") == [Path("a-red-circle-7.png")]
    assert name_outputs("d/", TWO[:1], ".tokens.json") == [Path("d/a-red-circle-7.tokens.json")]
    assert name_outputs("x.tokens.json", TWO, ".tokens.json")[0] == Path("x-1.tokens.json")
    assert dump_path_beside(Path("a/out.png")) == Path("a/out.tokens.json")


@pytest.mark.parametrize("pattern", ["{sed}.png", "{0}.png", "{}.png", "{seed", "{seed.__class__}", "{prompt:d}.png"])
def test_patterns_that_mean_nothing(pattern: str) -> None:
    with pytest.raises(OutputError):
        name_outputs(pattern, TWO[:1], ".png")


def test_two_results_under_one_name() -> None:
    same = [NameFields("x", 1, 1), NameFields("x", 1, 2)]
    with pytest.raises(OutputError, match="more than once"):
        name_outputs("{seed}.png", same, ".png")


def test_slugs_stay_short_and_safe() -> None:
    assert slug("../../etc/passwd\n") == "etc-passwd"
    assert slug("!?") == "picture"
    assert len(slug("word " * 100).encode()) <= 120
    assert len(slug("字" * 500).encode()) <= 200


def test_outputs_are_checked(tmp_path: Path) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"x")
    with pytest.raises(OutputError, match="exists already"):
        check_outputs([there], force=False)
    check_outputs([there], force=True)
    check_outputs([tmp_path / "new" / "deep" / "x.png"], force=False)
    assert (tmp_path / "new" / "deep").is_dir()
    with pytest.raises(OutputError, match="is not a folder"):
        check_outputs([there / "x.png"], force=False)
    with pytest.raises(OutputError, match="2 times"):
        check_outputs([tmp_path / "b"], force=True, others=[tmp_path / "new" / ".." / "b"])
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        check_outputs([tmp_path / "dangling"], force=False)
    with pytest.raises(OutputError, match="is a folder"):
        check_outputs([tmp_path], force=True)
    with pytest.raises(OutputError, match="cannot be used"):
        check_outputs([tmp_path / ("x" * 300)], force=False)
    with pytest.raises(OutputError, match="2 times"):
        check_outputs([tmp_path / "a", tmp_path / "a"], force=False)
    assert there.read_bytes() == b"x"
