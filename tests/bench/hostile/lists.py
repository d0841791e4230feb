"""Hostile job lists of every form, planned, or drawn by stages without weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from random import Random
from typing import Any

from tests.bench.hostile.case import Case
from tests.bench.hostile.mutate import VALUES, spoiled
from tests.bench.hostile.pictures import picture
from tests.bench.hostile.presets import KEYS

FIELDS = [*KEYS, "name", "preset", "sources"]
NAMES = (
    *(
        "../x",
        "/tmp/x",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "con",
        "x\0y",
        "\x1b[2J",
        "x\n",
        ".hidden",
        "-rf",
        "~",
        "x" * 300,
    ),
    *("\U0001f642" * 60, "index", "results", "foreign", "foreign.tokens", "{seed}", "%s", "a:b", "\ud800", "\u202exe"),
)
PROMPTS = (
    *("", " ", "x", "<|image|>", "a 'sign'", "\x1b]0;x\x07", "\u202e", "<script>alert(1)</script>", "{prompt}", "{a}"),
    *("{index:{seed}}", "x" * 100_000, "\0", "\ud800", "[bold]x[/bold]", "#", "=cmd()", "\U0001f642" * 500, "a\nb"),
)
SOURCES = ("../x.png", "/dev/zero", "/proc/self/pagemap", "http://127.0.0.1:1/x.png", "file:///etc/passwd", "jobs", ".")


def _line(random: Random) -> dict[str, Any]:
    line: dict[str, Any] = {"prompt": random.choice(PROMPTS)} if random.random() < 0.9 else {}
    if random.random() < 0.5:
        line["name"] = random.choice(NAMES)
    if random.random() < 0.15:
        line["sources"] = random.choice((random.choice(SOURCES), [random.choice(SOURCES)], ["x.png"] * 9, 3))
    if random.random() < 0.1:
        line["preset"] = random.choice(("draft", "./x.yaml", "/dev/zero", "../x", ["draft"] * 999, "nosuch"))
    for _ in range(random.randint(0, 2)):
        line[random.choice(FIELDS)] = random.choice(VALUES)
    return line


def _text(random: Random, ending: str) -> bytes:
    lines = [_line(random) for _ in range(random.randint(1, 4))]
    if ending in (".jsonl", ".json"):
        text = "\n".join(json.dumps(line) for line in lines)
    elif ending in (".csv", ".tsv"):
        columns = sorted({key for line in lines for key in line} or {"prompt"})
        buffer = io.StringIO()
        table = csv.DictWriter(buffer, columns, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
        text = buffer.getvalue()
    else:
        text = "\n".join(str(line.get("prompt", "")) for line in lines)
    raw = text.encode("utf-8", "surrogatepass")
    return spoiled(random, raw) if random.random() < 0.4 else raw


def _ledger(random: Random) -> bytes:
    record: dict[str, Any] = {
        **{"name": random.choice(NAMES), "status": random.choice(("done", "failed")), "key": "x", "prompt": "x"},
        **{"size": "64x64", "seed": 1, "dit_seed": 1, "steps": 1, "guidance": 1.5, "temperature": 1.0, "top_p": 1.0},
        **{"picture": random.choice(("x.png", "../x.png", "../foreign.txt", "/etc/passwd", "http://127.0.0.1:1/x"))},
        **{"model": "stub", "fingerprint": "x", "finished": "2026-01-01T00:00:00Z", "host": "x"},
    }
    if random.random() < 0.5:
        record[random.choice(sorted(record))] = random.choice(VALUES)
    return json.dumps(record).encode() + b"\n" + spoiled(random, json.dumps(record).encode()) + b"\n"


def make(random: Random, shared: Path) -> Case:
    """A list, often a hostile ledger of an earlier run beside it, listed or drawn."""
    ending = random.choice((".jsonl", ".json", ".csv", ".tsv", ".txt", ".yaml", ""))
    name, drawn = f"jobs{ending}", random.random() < 0.6
    where = (
        "out" if random.random() < 0.9 else random.choice(("foo://x", "index.html", ".", "out/../out", "memory://x"))
    )
    command = ["batch", name, "-m", str(shared / "hollow"), "-o", where]
    command += random.choice(([], [], ["--skip-bad"], ["-n", "2"], ["--json"], ["--gallery"]))
    files = {name: _text(random, ending), "x.yaml": b"steps: 3\n"}
    if random.random() < 0.2:
        files |= {"out/results.jsonl": _ledger(random), "out/x.png": picture(random), "x.png": picture(random)}
    return Case(files, [command if drawn else [*command, "--dry-run"]], stubbed=drawn)
