"""Mutated files thrown at the real program: what came of each kind, counted.

    python -m tests.bench.hostile [--dumps N] [--pictures N] [--presets N] [--configs N] [--lists N] [--checkpoints N]
                                  [--parts N] [--signals N] [--seed S] [--keep FOLDER] [--out FILE]
    python -m tests.bench.hostile --again dumps:123 --seed S

One process for all but the signals; every case depends on the seed, its kind and its number alone. A case in which
something was found goes into the folder to keep, with its files and commands, and is run again by `--again`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.bench.hostile.run import KINDS, Tally, attack, one, strike_all

KEEP = Path("build/hostile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in (*KINDS, "signals"):
        parser.add_argument(f"--{kind}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=KEEP)
    parser.add_argument("--again")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if asked.again:
            kind, _, number = asked.again.partition(":")
            sys.stdout.write(f"{one(kind, int(number), asked.seed, Path(scratch), asked.keep.absolute())}\n")
            return
        tallies: dict[str, Tally] = {}
        for kind in KINDS:
            if wanted := getattr(asked, kind):
                tallies[kind] = attack(kind, wanted, asked.seed, Path(scratch), asked.keep.absolute())
                sys.stderr.write(f"{kind}: {json.dumps(tallies[kind].figures())}\n")
        if asked.signals:
            tallies["signals"] = strike_all(asked.signals, asked.seed, Path(scratch))
    results = {"seed": asked.seed} | {kind: tally.figures() for kind, tally in tallies.items()}
    text = json.dumps(results, indent=1)
    if asked.out:
        asked.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
