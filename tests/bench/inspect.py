"""`glmimg inspect` of a 4096-token dump against importing rich, pydantic and Pillow: `python -m tests.bench.inspect`.

The second comparison is with the classes every command line on typer, rich and pydantic has to import.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from glmimg.tokens.dump_file import write_dump
from tests.bench.processes import compare, glmimg, keep
from tests.dumps import dump

BASES = {
    "inspect": "import rich, pydantic, PIL",
    "inspect_floor": "import typer, rich.console, rich.table; from pydantic import BaseModel",
}

if __name__ == "__main__":
    codes = random.Random(0)
    rows = [[codes.choice([5, 5, 5, codes.randrange(100)]) for _ in range(64)] for _ in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tokens.json"
        write_dump(dump(rows), path)
        for name, imports in BASES.items():
            keep(name, compare(glmimg("inspect", str(path)), [sys.executable, "-c", imports], runs=5))
