"""The folder of one's own: the config file, and beside it presets, lists of words and the history."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "GLMIMG_CONFIG"


def config_path() -> Path:
    """Where the config file is, or would be: $GLMIMG_CONFIG, else `config.yaml` where the platform keeps such."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("glmimg") / "config.yaml"


def beside(name: str) -> Path:
    """A file or folder in the config file's folder, whether it is there or not."""
    return config_path().parent / name
