"""Hostile presets and config files: YAML bombs, wrong types, numbers that are too large."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from glmimg.knob import knobs
from glmimg.request import JOB
from tests.bench.hostile.case import Case
from tests.bench.hostile.mutate import VALUES, spoiled

SHIPPED = sorted((Path(__file__).parents[3] / "presets").glob("*.yaml"))
KEYS = [each.name for model in JOB for each in knobs(model)]
KEYS += ["description", "template", "prompt", "model", "device", "dtype", "memory", "lora", "out", "<<", "=", "x"]
PLAIN = (
    *("", "~", "yes", "0", "-1", "7", "9" * 5000, "1e999", ".nan", "-.inf", "0x1F", "1:30", "2024-02-30", "16:9"),
    *("128x7", "64x64", "0x0", "1,0", "0.1,0.8", "[]", "{}", "{a: 1}", "*a", "&a 3", "!!int abc", "!!binary x", "? a"),
    *("!!python/object/apply:os.system [touch pwned]", "[" * 3000, "{" * 3000, "'" + "x" * 3000 + "'", "|\n  a\n  b"),
    *(
        "heun",
        "jacobi",
        "{prompt}",
        "'a {prompt}'",
        '"\\x07"',
        '"\\ud800"',
        "<<: *b",
        "%",
        "@",
        "\t",
        "- 1",
        "/dev/zero",
    ),
)
BOMBS = (
    b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"b%d: &b%d [*a,*a,*a,*a,*a,*a,*a,*a]\n" % (n, n) for n in range(99)),
    b"a0: &a0 {x: 1}\n" + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 40)),
    b"steps: 1\n" * 100_000,
    b"? " * 20_000,
    b"- " * 20_000,
    b"x" * (2 << 20),
    b"%YAML 9.9\n---\nsteps: 1\n",
    b"\xff\xfes\0t\0e\0p\0s\0:\0 \x001\0",
    b"",
)


def _settings(random: Random) -> bytes:
    chance = random.random()
    if chance < 0.1:
        return random.choice(BOMBS)
    if chance < 0.35:
        return spoiled(random, random.choice(SHIPPED).read_bytes(), 6)
    lines = []
    for _ in range(random.choice((1, 1, 2, 5))):
        value = random.choice(PLAIN) if random.random() < 0.5 else json.dumps(random.choice(VALUES))
        lines.append(f"{random.choice(KEYS)}: {value}")
    return random.choice(("\n", "\r\n", "\n\n", " ")).join(lines).encode("utf-8", "surrogatepass")


def make(random: Random, shared: Path) -> Case:
    """Hostile settings as a preset of a command, shown, or as the defaults beside a batch."""
    hollow = str(shared / "hollow")
    command = random.choice(
        [
            ["t2i", "x", "-p", "./x.yaml", "-m", hollow, "-o", "out.png"],
            ["t2i", "x", "-p", "draft", "-p", "./x.yaml", "-m", hollow, "-n", "3", "-o", "{seed}.png"],
            ["tokens", "x", "-p", "./x.yaml", "-m", hollow, "-o", "out.tokens.json"],
            ["presets", "./x.yaml"],
            ["batch", "jobs.txt", "-p", "./x.yaml", "-m", hollow, "-o", "out", "--dry-run"],
        ]
    )
    return Case({"x.yaml": _settings(random), "jobs.txt": b"a red circle\n"}, [command])


def make_config(random: Random, shared: Path) -> Case:
    """Hostile settings as the config file of the machine."""
    hollow = str(shared / "hollow")
    command = random.choice(
        [
            ["t2i", "x", "-m", hollow, "-o", "out.png"],
            ["t2i", "x", "-o", "out.png"],
            ["decode", "foreign.tokens.json", "-m", hollow],
            ["batch", "jobs.txt", "-m", hollow, "-o", "out", "--dry-run"],
        ]
    )
    return Case({"config.yaml": _settings(random), "jobs.txt": b"a red circle\n"}, [command])
