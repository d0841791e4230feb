"""The token dump: a round trip, and everything that is not a dump refused in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from glmimg.errors import BadDump, WriteError
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_fits_model, check_has_grid, parse_dump, read_dump, write_dump

GOOD: dict[str, Any] = {
    "format": "glmimg.tokens",
    "version": 1,
    "prompt": 'ein "roter" Kreis 圆',
    "height": 64,
    "width": 64,
    "seed": 42,
    "grids": [
        {"role": "preview", "height": 16, "width": 16, "tokens": [list(range(16))] * 16},
        {"role": "target", "height": 2, "width": 2, "tokens": [[5, 17], [0, 16383]]},
    ],
    "sources": [],
    "model": {"id": "zai-org/GLM-Image", "revision": None, "codebook_size": 16384, "fingerprint": "aa-bb"},
    "sampling": {"temperature": 0.9, "top_p": 0.75, "method": "sequential"},
    "stats": {"seconds": 7.1, "tokens": 260, "forward_passes": 260},
    "glmimg": "0.1.0",
}  # fmt: skip


def changed(*path: Any, to: Any) -> dict[str, Any]:
    dump = copy.deepcopy(GOOD)
    at: Any = dump
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return dump


def without(*path: Any) -> dict[str, Any]:
    dump = copy.deepcopy(GOOD)
    at: Any = dump
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return dump


def test_round_trip(tmp_path: Path) -> None:
    dump = parse_dump(json.dumps(GOOD).encode(), "x")
    write_dump(dump, tmp_path / "x.tokens.json")
    again = read_dump(tmp_path / "x.tokens.json")
    assert again == dump
    assert again.target.tokens == [[5, 17], [0, 16383]]
    assert again.preview is not None
    assert "[5, 17]" in (tmp_path / "x.tokens.json").read_text(), "a row stands on one line, for diff"


def test_text_of_the_prompt_is_never_taken_for_a_row() -> None:
    dump = parse_dump(json.dumps(changed("prompt", to="[1,\n 2]\n[ 3 ]")).encode(), "x")
    assert parse_dump(dump.to_json().encode(), "x").prompt == "[1,\n 2]\n[ 3 ]"


def test_a_dump_may_stop_after_its_preview() -> None:
    dump = parse_dump(json.dumps(changed("grids", to=GOOD["grids"][:1])).encode(), "x")
    assert not dump.has_target
    with pytest.raises(BadDump, match="only a preview grid") as caught:
        check_has_grid(dump, "x", "target")
    assert "glmimg resume x" in caught.value.hint
    assert dump.as_target("preview").target.tokens == dump.grids[0].tokens


TARGET = ("grids", 1, "tokens")
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "truncated": (json.dumps(GOOD).encode()[:-40], "not complete JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "byte order mark"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), "byte order mark"),
    "binary": (b"\x7fELF\0\0", "not complete JSON"),
    "list": (b"[1, 2]", "not a token dump"),
    "damaged picture": (b"\x89PNG\r\n\x1a\n\0\0", "picture"),
    "other json": (b'{"format": "something"}', "not a token dump"),
    "number": (b"7", "not a token dump"),
    "newer": (json.dumps(changed("version", to=3)).encode(), "version 3"),
    "version as text": (json.dumps(changed("version", to="1")).encode(), "version"),
    "ragged row": (json.dumps(changed(*TARGET, 1, to=[1])).encode(), "row 1: 1 tokens instead of 2"),
    "missing row": (json.dumps(changed(*TARGET, to=[[1, 2]])).encode(), "states 2 rows but has 1"),
    "id -1": (json.dumps(changed(*TARGET, 0, 0, to=-1)).encode(), "greater than or equal to 0"),
    "id 16384": (json.dumps(changed(*TARGET, 0, 1, to=16384)).encode(), "id 16384 is outside the codebook of 16384"),
    "id 1e9": (json.dumps(changed(*TARGET, 0, 0, to=10**9)).encode(), "outside the codebook"),
    "id 1e400": (json.dumps(changed(*TARGET, 0, 0, to=10**400)).encode(), "less than"),
    "id of 5000 digits": (b'{"format": "glmimg.tokens", "x": ' + b"9" * 5000 + b"}", "5000 digits"),
    "id text": (json.dumps(changed(*TARGET, 0, 0, to="7")).encode(), "valid integer"),
    "id 3.5": (json.dumps(changed(*TARGET, 0, 0, to=3.5)).encode(), "valid integer"),
    "id NaN": (json.dumps(changed(*TARGET, 0, 0, to=float("nan"))).encode(), "valid integer"),
    "id true": (json.dumps(changed(*TARGET, 0, 0, to=True)).encode(), "valid integer"),
    "id null": (json.dumps(changed(*TARGET, 0, 0, to=None)).encode(), "valid integer"),
    "size against grid": (json.dumps(changed("height", to=96)).encode(), "preview grid is 16x16"),
    "size no multiple": (json.dumps(changed("height", to=65)).encode(), "multiple of 32"),
    "grid against size": (json.dumps(changed(*TARGET, to=[[1]])).encode(), "states 2 rows"),
    "no grids": (json.dumps(changed("grids", to=[])).encode(), "should be"),
    "no preview": (json.dumps(changed("grids", to=GOOD["grids"][1:])).encode(), "should be"),
    "two targets": (json.dumps(changed("grids", to=[GOOD["grids"][1]] * 2)).encode(), "should be"),
    "unknown role": (json.dumps(changed("grids", 1, "role", to="main")).encode(), "role"),
    "no prompt": (json.dumps(without("prompt")).encode(), "prompt"),
    "negative seed": (json.dumps(changed("seed", to=-1)).encode(), "seed"),
    "unknown key": (json.dumps(changed("more", to=1)).encode(), "more"),
    "huge codebook lie": (json.dumps(changed("model", "codebook_size", to=0)).encode(), "codebook_size"),
    "deep": (b"[" * 100_000, "not"),
    "bad utf-8": (b'{"format": "\xff"}', "not"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_a_dump_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    raw, reason = BAD[kind]
    path = tmp_path / "bad.tokens.json"
    path.write_bytes(raw)
    with pytest.raises(BadDump) as caught:
        read_dump(path)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 3


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadDump, match=r"cannot be read|is a folder"):
            read_dump(path)


def test_another_codebook_is_refused() -> None:
    dump = TokenDump.model_validate(GOOD)
    check_fits_model(dump, "x", codebook_size=16384)
    with pytest.raises(BadDump, match="codebook of 16384, but this model has 64"):
        check_fits_model(dump, "x", codebook_size=64)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No space left"):
        write_dump(TokenDump.model_validate(GOOD), Path("/dev/full"))
    with pytest.raises(WriteError):
        write_dump(TokenDump.model_validate(GOOD), tmp_path / "none" / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_a_dump_says_the_job_it_was_drawn_for() -> None:
    """Settings without effect included: a batch knows its own dumps by this."""
    said = {"temperature": 0.9, "top_p": 0.75, "method": "sequential", "window": 7}
    assert parse_dump(json.dumps(changed("sampling", to=said)).encode(), "x").drawn_with.ar_window == 7


def test_a_dump_that_no_job_draws_is_refused() -> None:
    with pytest.raises(BadDump, match="temperature"):
        parse_dump(json.dumps(changed("sampling", "temperature", to=1e9)).encode(), "x")
