"""How a picture of ours was made, as `inspect` shows it, and the command that reproduces it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from glmimg.choice import ModelChoice
from glmimg.image_io import Provenance
from glmimg.knob import knobs
from glmimg.request import JOB, layer_of
from glmimg.text import shell_words

CHOSEN = {"quantize", "lora", "compile", "dtype"}
"""Knobs of the model choice that change pixels."""


def made_fields(made: Provenance, path: Path) -> dict[str, Any]:
    """A picture as `--json` reports it: all its metadata, and the command that reproduces it."""
    return {"picture": str(path), "again": command_line(made, path), **made.model_dump(mode="json")}


def made_table(made: Provenance, path: Path) -> Table:
    """The same for people."""
    job = made.job.model_dump(mode="json", exclude_none=True)
    facts = {
        **{name: value for name, value in job.items() if not isinstance(value, dict | list)},
        "before": "\n".join(job.get("forms", [])),
        **job["sampling"],
        "mask": job.get("mask", {}).get("region"),
        "sources": ", ".join(source["path"] for source in job["sources"]),
        "model": made.model.id,
        "changes": ", ".join([*made.model.changes, *made.changes]),
        "device": f"{made.device} {made.dtype}",
        "versions": ", ".join(f"{name} {number}" for name, number in made.versions.items()),
        "beyond": made.beyond,
        "again": command_line(made, path),
    }
    return facts_table(facts)


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Those facts that are set, one per line."""
    table = Table("field", "value", box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        if value not in (None, "") and value is not False:
            table.add_row(Text(name, style="dim"), Text(str(value)))
    return table


def command_line(made: Provenance, path: Path) -> str:
    """The command that reproduces the picture, from the picture itself if its job does not tell everything."""
    if made.beyond or made.grid != "target" or made.job.painting.mask:
        return shell_words("glmimg", "replay", path)
    scene = made.job.scene
    images = [word for source in scene.sources for word in ("-i", source.path)]
    words = ["glmimg", "edit" if images else "t2i", "-m", made.model.id, *images]
    said = layer_of(scene, made.job.sampling, made.job.painting)
    choice = {} if made.choice is None else made.choice.model_dump(include=CHOSEN)
    words += _options(said | choice)
    return shell_words(*words, "--", scene.prompt)


def _options(said: Mapping[str, Any]) -> Iterator[str]:
    """Options for the knobs that differ from their defaults."""
    for each in (each for model in (*JOB, ModelChoice) for each in knobs(model)):
        value = said.get(each.name, each.default)
        if value == each.default:
            continue
        if isinstance(value, bool):
            yield each.flag if value else f"--no-{each.flag[2:]}"
        elif each.name == "lora":
            yield from (word for lora in value for word in (each.flag, lora))
        else:
            is_window = isinstance(value, tuple) and each.name != "size"
            yield from (each.flag, ",".join(map(str, value)) if is_window else str(value))
