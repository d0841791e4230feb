"""Entry point of the program, also as `python -m glmimg`. Ctrl-C exits with 130 from the first line on."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # For a Ctrl-C before `main` can catch it. If it is ignored, as in a shell's background job, it stays ignored.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))

import gc  # noqa: E402 (and what follows: each import is a moment for a Ctrl-C)
import sys  # noqa: E402
import threading  # noqa: E402
from contextlib import suppress  # noqa: E402
from types import FrameType  # noqa: E402
from typing import NoReturn  # noqa: E402

YOUNG_OBJECTS = 50_000
"""New objects between two runs of the collector: with Python's 700, importing the libraries takes a quarter longer."""

WEAK = ("weakref.py", "_weakrefset.py")
"""Modules whose functions Python calls as it frees objects."""


def main() -> NoReturn:
    """Run the command line; a Ctrl-C while its modules are still being imported exits quietly."""
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, Interrupter())
        from glmimg.cli.main import main as run

        run()
    except KeyboardInterrupt:
        leave_interrupted()
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            leave_interrupted()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is done and printed: the exit status is settled
        gc.freeze()  # the process is about to end: collecting garbage now would be wasted


class Interrupter:
    """The handler of Ctrl-C. came: whether there was one, as an import that it breaks off may raise something else."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt; where Python would swallow it, in a finalizer, try again a moment later."""
        self.came, at = True, frame
        while at is not None:
            if at.f_code.co_name == "__del__" or at.f_code.co_filename.endswith(WEAK):
                threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
                return
            at = at.f_back
        raise KeyboardInterrupt


def leave_interrupted() -> NoReturn:
    """Exit with 130 at once.

    Python remembers a KeyboardInterrupt that passed through `exec` of a string, as the making of a data class is,
    and would otherwise end by the signal although the interrupt was handled.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
