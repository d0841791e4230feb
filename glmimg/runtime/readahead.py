"""Reading files into the system's cache in the background, so that loading them later costs little."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

CHUNK_BYTES = 1024 * 1024


class ReadAhead:
    """Reads `files` one after the other in a thread of its own, until done or closed.

    limit_bytes: how much is read at most, as a full cache would push out what is in use
    """

    def __init__(self, files: Sequence[Path], limit_bytes: int) -> None:
        self.files = files
        self.limit_bytes = limit_bytes
        self.read_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the chunk at hand."""
        self._stop.set()
        self._thread.join()

    def wait(self) -> None:
        """Wait until everything is read."""
        self._thread.join()

    def _run(self) -> None:
        buffer = bytearray(CHUNK_BYTES)
        for file in self.files:
            try:
                with file.open("rb", buffering=0) as stream:
                    while not self._stop.is_set() and self.read_bytes < self.limit_bytes:
                        count = stream.readinto(buffer)
                        if not count:
                            break
                        self.read_bytes += count
            except OSError:
                return  # whoever loads the file will say what is wrong with it
