"""Mutated dumps: each is read or refused with `BadDump` in one line; nothing else, nothing slow, nothing large.

Two thousand cases by default, ten thousand in CI (`FUZZ_CASES=10000`: 40 seconds of one processor).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glmimg.cli.inspect_view import comparison_fields, dump_fields
from glmimg.errors import BadDump
from glmimg.tokens.checks import check_dump
from glmimg.tokens.compare import compare_dumps
from glmimg.tokens.dump_file import MAX_BYTES, MAX_WIDE_BYTES, parse_dump
from glmimg.tokens.statistics import describe

KEPT = Path(__file__).parents[1] / "data" / "dumps"
FILES = [path.read_bytes() for path in sorted(KEPT.rglob("*.tokens.json"))]
CASES = int(os.environ.get("FUZZ_CASES", "2000"))
MAX_SECONDS, MAX_MB = 2.0, 500

fuzz = settings(
    max_examples=CASES // 2,
    deadline=None,  # wall time says little on a busy machine; try_reading looks at the processor's
    derandomize=CASES <= 10_000,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def check_message(error: BadDump) -> None:
    assert error.exit_code == 3
    assert len(error.message.splitlines()) == 1
    assert error.message.isprintable()
    assert len(error.message) < 700


def try_reading(raw: bytes) -> None:
    """Read as `inspect` does; whatever but BadDump escapes is a bug."""
    started = time.process_time()
    try:
        dump = parse_dump(raw, "x.tokens.json")
    except BadDump as error:
        check_message(error)
        return
    finally:
        assert time.process_time() - started < MAX_SECONDS
    statistics, checks = describe(dump), check_dump(dump, Path("x.tokens.json"))
    json.dumps([dump_fields(dump, checks, statistics), comparison_fields(("a", "b"), compare_dumps(dump, dump))])
    assert parse_dump(dump.to_json().encode(), "again") == dump


edits = st.tuples(
    st.sampled_from(["cut", "repeat", "insert", "flip", "truncate"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 40),
    st.binary(max_size=8) | st.sampled_from([b"[" * 50, b'"', b"1e999", b"-", b"9" * 5000, b"\\ud800", b",", b"\xff"]),
)


@fuzz
@given(st.sampled_from(FILES), st.lists(edits, min_size=1, max_size=6))
def test_mutated_bytes(raw: bytes, changes: list[tuple[str, float, int, bytes]]) -> None:
    for kind, place, length, patch in changes:
        at = int(place * len(raw))
        match kind:
            case "cut":
                raw = raw[:at] + raw[at + length :]
            case "repeat":
                raw = raw[: at + length] + raw[at:]
            case "insert":
                raw = raw[:at] + patch + raw[at:]
            case "flip" if raw:
                raw = raw[:at] + bytes([raw[at] ^ (1 << length % 8)]) + raw[at + 1 :]
            case "truncate":
                raw = raw[:at]
    try_reading(raw)


def nest(depth: int) -> str:
    return "[" * depth + "]" * depth


values = st.one_of(
    st.sampled_from(
        ["null", "true", "false", "NaN", "-Infinity", "1e999", "-0", "0.5", "[]", "{}", '""', nest(150), nest(100_000)]
        + ['{"a": 1, "a": 2}', '"\\ud800"', '"\\u0000\\u001b[2J\\n"', '"' + "x" * 100_000 + '"', "9" * 5000]
        + ["[" + "0, " * 5000 + "0]", "[" + "[], " * 5000 + "[]]", '"preview"', '"target"', '"source"']
    ),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.floats().map(json.dumps),
    st.text(max_size=20).map(json.dumps),
    st.recursive(st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=6).map(json.dumps),
)
MARK = "\x02replaced\x02"


def walk(value: Any, choices: list[int]) -> tuple[Any, Any]:
    """A container inside `value` and a key of it, found by always taking the next choice."""
    at, key = [value], 0
    for choice in choices:
        inside = at[key]
        if not isinstance(inside, dict | list) or not inside:
            break
        at, key = inside, sorted(inside)[choice % len(inside)] if isinstance(inside, dict) else choice % len(inside)
    return at, key


@fuzz
@given(
    st.sampled_from(FILES),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.sampled_from(["replace", "delete", "repeat", "add", "rename", "twice"]),
    values,
)
def test_mutated_values_and_structure(raw: bytes, choices: list[int], kind: str, text: str) -> None:
    document = [json.loads(raw)]
    at, key = walk(document[0], choices)
    if kind == "delete":
        del at[key]
    elif kind == "repeat" and isinstance(at, list):
        at.insert(key, at[key])
    elif kind == "add" and isinstance(at, dict):
        at["more"] = MARK
    elif kind == "rename" and isinstance(at, dict):
        at[text[:50]] = at.pop(key)
    elif kind == "twice" and isinstance(at, dict):
        at[MARK] = 0
    else:
        at[key] = MARK
    mutated = json.dumps(document[0])
    if kind == "twice" and isinstance(at, dict):
        mutated = mutated.replace(json.dumps(MARK) + ": 0", f"{json.dumps(key)}: {text}")
    try_reading(mutated.replace(json.dumps(MARK), text).encode("utf-8", "surrogatepass"))


HEAD = b'{"format": "glmimg.tokens", "version": 1, '


def filled(size: int, head: bytes, unit: bytes, tail: bytes = b"") -> bytes:
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


LARGE: dict[str, Callable[[int], bytes]] = {
    "zeros": lambda size: bytes(size),
    "spaces": lambda size: b" " * size,
    "a prompt": lambda size: filled(size, HEAD + b'"prompt": "', b"x", b'"}'),
    "escapes": lambda size: filled(size, HEAD + b'"prompt": "', b"\\u0041", b'"}'),
    "wide escapes": lambda size: filled(size, HEAD + b'"prompt": "', b"\\u5706", b'"}'),
    "a prompt of four-byte characters": lambda size: filled(size, HEAD + b'"prompt": "\xf0\x9f\x98\x80', b"x", b'"}'),
    "a key of four-byte characters": lambda size: filled(size, HEAD + b'"\xf0\x9f\x98\x80', b"x", b'": 1}'),
    "base64": lambda size: filled(size, HEAD + b'"sources": [{"embedded": "', b"x", b'"}]}'),
    "a key": lambda size: filled(size, HEAD + b'"', b"k", b'": 1}'),
    "ids": lambda size: filled(size, HEAD + b'"grids": [{"tokens": [[', b"1,", b"1]]}]}"),
    "ids just under the bound": lambda size: HEAD + b'"grids": [{"tokens": [[' + b"-1, " * 390_000 + b"1]]}]}",
    "rows": lambda size: filled(size, HEAD + b'"grids": [{"tokens": [', b"[1],", b"[1]]}]}"),
    "grids": lambda size: HEAD + b'"grids": [' + b"{}," * 190_000 + b"{}]}",
    "keys": lambda size: HEAD + b", ".join(b'"k%d": 1' % number for number in range(390_000)) + b"}",
    "one key often": lambda size: filled(size, HEAD, b'"k": 1, ', b'"k": 1}'),
    "digits": lambda size: filled(size, HEAD + b'"seed": ', b"9", b"}"),
    "nested lists": lambda size: filled(size, HEAD + b'"x": ', b"["),
    "nested objects": lambda size: filled(size, HEAD + b'"x": ', b'{"x": '),
    "strings": lambda size: filled(size, HEAD + b'"x": [', b'"",', b'""]}'),
}
SCRIPT = """
import os, sys, time
from pathlib import Path
from glmimg.errors import BadDump
from glmimg.tokens.dump_file import read_dump
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            read_dump(Path(name))
        except BadDump as error:
            os._exit(3 if len(error.message.splitlines()) == 1 and len(error.message) < 700 else 1)
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    print(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024)
"""


LARGE_CASES = [(name, MAX_BYTES) for name in LARGE] + [(name, MAX_WIDE_BYTES) for name in LARGE if "four-byte" in name]


def test_large_files_are_refused_in_little_time_and_memory(tmp_path: Path) -> None:
    for name, size in [*LARGE_CASES, ("a prompt", MAX_BYTES + 1)]:
        path = tmp_path / "large.json"
        path.write_bytes(LARGE[name](size))
        done = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, check=True)
        status, seconds, megabytes = done.stdout.split()
        assert status == "3", name
        assert float(seconds) < MAX_SECONDS, f"{name}: {seconds} s"
        assert int(megabytes) < MAX_MB, f"{name}: {megabytes} MB"
