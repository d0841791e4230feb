"""Where the program starts, also as `python -m glmimg`: a Ctrl-C leaves with 130 from its first line on."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

YOUNG_OBJECTS = 50_000
"""New objects between two looks of the collector: at Python's 700, importing the libraries takes a quarter longer."""

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; a Ctrl-C while its modules are still being imported leaves quietly."""
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        from glmimg.cli.main import main as run

        run()
    except KeyboardInterrupt:
        leave_interrupted()
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            leave_interrupted()
        raise
    finally:
        gc.freeze()  # the process ends: nobody needs what could be collected now


def leave_interrupted() -> NoReturn:
    """Leave with 130 at once.

    Python remembers a KeyboardInterrupt that passed through `exec` of a string, as the making of a data class is,
    and would otherwise end by the signal although the interrupt was handled.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
