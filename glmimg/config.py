"""The config file: defaults of one's own for any knob, below everything else that is given."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmimg.choice import ModelChoice, Output, Sources
from glmimg.errors import BadConfig, UsageError
from glmimg.request import JOB, partial, problem_of
from glmimg.settings_file import read_mapping

VARIABLE = "GLMIMG_CONFIG"


def config_path() -> Path:
    """Where the config file is, or would be: $GLMIMG_CONFIG, else `config.yaml` where the platform keeps such."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("glmimg") / "config.yaml"


def read_config() -> dict[str, Any]:
    """What the config file says, by knob name; nothing where there is none. Raises BadConfig (exit 3)."""
    return dict(_read(config_path()))


@cache
def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    form = partial(*JOB, ModelChoice, Sources, Output)
    values = read_mapping(path, form.model_fields, BadConfig)
    try:
        return form.model_validate(values).given()
    except (ValidationError, UsageError) as error:
        raise BadConfig(path, problem_of(error), "Mend it, or name another with GLMIMG_CONFIG.") from error
