"""Where the program starts, also as `python -m glmimg`: catches Ctrl-C from its first line on."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

YOUNG_OBJECTS = 50_000
"""New objects between two looks of the collector: at Python's 700, importing the libraries takes a quarter longer."""


def main() -> NoReturn:
    """Run the command line; a Ctrl-C while its modules are still being imported leaves quietly with 130."""
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        from glmimg.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # the process ends: nobody needs what could be collected now


if __name__ == "__main__":
    main()
