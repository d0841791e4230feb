"""Mutated token dumps, through every command that reads one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.bench.hostile.case import Case
from tests.bench.hostile.mutate import altered, as_json, spoiled

KEPT = Path(__file__).parents[2] / "data" / "dumps"
FILES = sorted(KEPT.rglob("*.tokens.json"))


def make(random: Random, shared: Path) -> Case:
    """Bytes or values of a kept dump spoiled."""
    raw = random.choice(FILES).read_bytes()
    raw = (
        spoiled(random, raw, 3)
        if random.random() < 0.3
        else as_json(altered(random, json.loads(raw), random.choice((1, 1, 1, 3))))
    )
    dump, hollow, good = "x.tokens.json", str(shared / "hollow"), str(random.choice(FILES))
    commands = [
        ["inspect", dump],
        ["inspect", dump, "--json", "-m", hollow],
        ["inspect", dump, good],
        ["inspect", dump, "--table"],
        ["inspect", dump, "--picture", "grid.png"],
        ["decode", dump, "--any-model", "-m", hollow],
        ["decode", dump, "--any-model", "--grid", "preview", "-m", hollow, "-o", "{seed}-{prompt}.png"],
        ["resume", dump, "-m", hollow],
        ["redraw", dump, "--box", "0,0,64,64", "-m", hollow],
        ["paste", dump, good, "-o", "pasted.tokens.json"],
        ["paste", good, dump, "-o", "pasted.tokens.json"],
        ["score", dump, "-m", hollow],
    ]
    command = commands[0] if random.random() < 0.3 else random.choice(commands)
    statuses = {0, 2, 3, 4} | ({1} if command == commands[2] else set())
    return Case({dump: raw}, [command], frozenset(statuses), stubbed=command[0] in ("decode", "resume"))
