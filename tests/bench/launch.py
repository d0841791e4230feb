"""Runs a command and says what it took, as JSON in a file: `launch.py FILE COMMAND ...`.

A process begins with the peak of the one that starts it (Linux carries `ru_maxrss` over `exec`), so the
starter has to be smaller than anything measured: this one imports little.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    report, *command = sys.argv[1:]
    started = time.perf_counter()
    _, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
    figures = {
        "status": os.waitstatus_to_exitcode(status),
        "wall": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
    }
    Path(report).write_text(json.dumps(figures))
