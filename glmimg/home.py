"""The user's own folder: the config file, and beside it presets, word lists and the history."""

from __future__ import annotations

import os
from pathlib import Path

from glmimg.atomic import write_atomically
from glmimg.errors import WriteError

VARIABLE = "GLMIMG_CONFIG"


def config_path() -> Path:
    """Where the config file is, or would be: $GLMIMG_CONFIG, else `config.yaml` in the platform's config folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("glmimg") / "config.yaml"


def beside(name: str) -> Path:
    """A file or folder in the config file's folder, whether it exists or not."""
    return config_path().parent / name


def write_own(path: Path, text: str) -> None:
    """Write a file in that folder, which is created if needed. Raises WriteError (exit 1)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error
    write_atomically(path, text.encode())
