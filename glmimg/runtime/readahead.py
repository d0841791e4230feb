"""Reading files into the system's cache in the background, so that loading them later costs little."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

CHUNK_BYTES = 1024 * 1024


class ReadAhead(threading.Thread):
    """A thread that reads `files` one after the other, until done or closed.

    limit_bytes: how much is read at most, as a full cache would push out what is in use
    """

    def __init__(self, files: Sequence[Path], limit_bytes: int) -> None:
        super().__init__(name="read-ahead", daemon=True)
        self.files, self.limit_bytes, self.read_bytes = files, limit_bytes, 0
        self._closed = threading.Event()
        self.start()

    def close(self) -> None:
        """Stop after the current chunk."""
        self._closed.set()
        self.join()

    def run(self) -> None:
        buffer = bytearray(CHUNK_BYTES)
        for file in self.files:
            try:
                with file.open("rb", buffering=0) as stream:
                    while not self._closed.is_set() and self.read_bytes < self.limit_bytes:
                        count = stream.readinto(buffer)
                        if not count:
                            break
                        self.read_bytes += count
            except OSError:
                return  # loading the file will report the fault
