"""Whether this machine can compile, checked before anything loads."""

from __future__ import annotations

import os
import shutil
import sys

from glmimg.errors import UsageError

COMPILERS = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")


def check_compiler() -> None:
    """Refuse to compile without the C++ compiler that torch needs. Raises UsageError (exit 2)."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "", *COMPILERS) if name):
        raise UsageError(
            "--compile needs a C++ compiler, and none is on PATH",
            f"Install one ({' or '.join(COMPILERS)}) or name it in CXX, or leave --compile out.",
        )
