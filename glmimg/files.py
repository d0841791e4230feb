"""Opening regular files without ever blocking: a pipe without a writer would block forever."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from glmimg.errors import BadImage, BadInput

MAX_BYTES = 1 << 30
"""Larger than any picture within Pillow's pixel limit, but for uncompressed ones of 64 bits a pixel."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def open_regular(path: Path, refuse: type[BadInput] = BadImage, what: str = "picture") -> io.BufferedReader:
    """Open a file for reading. Raises `refuse` (exit 3) for folders, pipes, devices, URLs and far too large files."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        if _ADDRESS.match(str(path)):
            address = str(path).replace(":/", "://", 1)
            raise refuse(address, "is a URL, and only files are read", "Download it first.") from error
        raise refuse(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    status = os.fstat(descriptor)
    reasons = {
        f"is a folder, not a {what}": stat.S_ISDIR(status.st_mode),
        f"is a pipe or a device, not a {what}": not stat.S_ISREG(status.st_mode),
        f"is over {MAX_BYTES >> 30} GiB, too large for a {what}": status.st_size > MAX_BYTES,
    }
    for reason, holds in reasons.items():
        if holds:
            os.close(descriptor)
            raise refuse(path, reason)
    return os.fdopen(descriptor, "rb")


def local_path(uri: str) -> Path | None:
    """The path that a file:// URI names; None if it names another machine's."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.netloc in ("", "localhost") else None


def hash_file(path: Path) -> str:
    """SHA-256 of a regular file's bytes, as 64 hex digits. Raises BadImage (exit 3)."""
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:  # some system files never end
            raise BadImage(path, "is empty")
        return hashlib.file_digest(file, "sha256").hexdigest()
