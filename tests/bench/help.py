"""`glmimg --help` against importing typer and rich: `python -m tests.bench.help`."""

from __future__ import annotations

import sys

from tests.bench.processes import compare, glmimg, keep

if __name__ == "__main__":
    keep("help", compare(glmimg("--help"), [sys.executable, "-c", "import typer, rich"], runs=10))
