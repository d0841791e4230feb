"""YAML settings files (presets and the config file): plain `key: value` lines, with limits checked before parsing."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from glmimg.errors import BadInput
from glmimg.files import open_regular
from glmimg.text import excerpt

MAX_BYTES = 64 << 10
MAX_NODES, MAX_DEPTH = 1000, 10
"""Limits beyond what any settings need; YAML can expand a few bytes into a lot of data."""

PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null")}
"""Types of unquoted values beside text; dates and merge keys are not among them."""


def read_mapping(path: Path, known: Collection[str], refuse: type[BadInput]) -> dict[str, Any]:
    """The settings in a file. Raises `refuse` (exit 3) for anything else and for keys that are not known."""
    return parse_mapping(path, read_text(path, refuse), known, refuse)


def parse_mapping(
    path: Path, text: str, known: Collection[str], refuse: type[BadInput], *, may_be_empty: bool = False
) -> dict[str, Any]:
    """The settings in the text of a file. Raises as `read_mapping`."""
    try:
        _check_plain(text)
        values: Any = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise refuse(path, f"is not YAML: {excerpt(reason)}") from error
    if values is None and may_be_empty:
        return {}
    if not isinstance(values, dict):
        raise refuse(path, "should contain `key: value` lines")
    unknown = [key for key in values if key not in known]
    if unknown:
        hint = near_names(str(unknown[0]), known) or f"Allowed keys: {', '.join(known)}."
        raise refuse(path, f"unknown key {excerpt(repr(unknown[0]))}", hint)
    return values


def near_names(name: str, known: Collection[str]) -> str:
    """A hint with the known names similar to a wrong one; empty if there are none."""
    near = difflib.get_close_matches(name[:100], known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def plain(value: Any) -> Any:
    """A setting as written in a file: sizes as WxH, windows as FROM,TO, several values as a list."""
    if not isinstance(value, tuple):
        return value
    if type(value) is not tuple:  # a size, which has its own text form
        return str(value)
    return list(value) if all(isinstance(each, str) for each in value) else ",".join(map(str, value))


def written(values: Mapping[str, Any]) -> str:
    """Settings as the lines of a file."""
    lines = {name: plain(value) for name, value in values.items()}
    return yaml.safe_dump(lines, sort_keys=False, allow_unicode=True, width=MAX_BYTES)


def read_text(path: Path, refuse: type[BadInput]) -> str:
    """The text of a settings file. Raises `refuse` (exit 3)."""
    with open_regular(path, refuse, "file of settings") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise refuse(path, f"is over {MAX_BYTES >> 10} KiB, too large for a settings file")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise refuse(path, "is not UTF-8 text") from error


class _Loader(yaml.SafeLoader):
    """Plain values only, and no duplicate keys, of which YAML silently uses the last."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML has it)
        first: [(tag, form) for tag, form in rules if tag in PLAIN]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in keys.most_common(1):
            if count > 1:
                raise yaml.YAMLError(f"the key {key!r} appears {count} times")
        return super().construct_mapping(node, deep)


def _check_plain(text: str) -> None:
    """Refuse what expands little text into much data, or makes values run code. Raises yaml.YAMLError."""
    nodes = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise yaml.YAMLError("anchors (&), aliases (*) and tags (!) are not read")
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it holds over {MAX_NODES} values, or nests them over {MAX_DEPTH} deep")
