"""Token dumps on disk: read with every check, written atomically."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmimg.atomic import write_atomically
from glmimg.errors import BadDump, BadImage
from glmimg.files import open_regular
from glmimg.grid import Role
from glmimg.metadata import NO_METADATA, PROVENANCE, TOKENS, read_texts
from glmimg.pictures import is_picture
from glmimg.request import problem_of
from glmimg.text import excerpt, shell_words
from glmimg.tokens.dump import FORMAT, VERSION, TokenDump

SCHEMA = Path(__file__).with_name(f"dump-v{VERSION}.schema.json")
"""The JSON Schema of a dump, as it is shipped."""

MAX_BYTES = 100 * 1024 * 1024
"""A 4096-token dump is about 30 kB; six large embedded sources are about this."""

MAX_WIDE_BYTES = 40 * 1024 * 1024
"""The same for text beyond ASCII, of which Python may keep every byte as four. Embedded sources are ASCII."""

MAX_VALUES = 400_000
"""JSON values in a dump. The largest picture has 16,640 tokens, each with two optional numbers; sources have 4,096."""

MAX_COLONS = 50_000
"""A dump has some dozens of keys; prompts may hold more colons."""


def read_dump(path: Path) -> TokenDump:
    """Read and check a dump, or the one a picture of ours carries.

    raises: BadDump (exit 3) for anything that is not a whole, valid dump of a known version
    """
    with open_regular(path, BadDump, "token dump") as file:
        return parse_dump(file.read(MAX_BYTES + 1), path)


def parse_dump(raw: bytes, name: Path | str) -> TokenDump:
    """Parse a dump from its bytes, or from those of a picture; `name` is for error messages. Raises as `read_dump`."""
    if is_picture(raw):
        raw = _tokens_of(raw, name)
    _check_bounds(raw, name)
    _check_text(raw, name)
    # Parsed once and then checked as Python objects: checking JSON text copies the faulty part into every fault.
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        hint = "Copy it again if it was cut off in transfer; otherwise draw it again: glmimg tokens PROMPT"
        raise BadDump(name, f"is not complete JSON ({excerpt(str(error))})", hint) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadDump(name, "is JSON, but not a token dump (no 'format': 'glmimg.tokens')")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BadDump(
            name,
            f"is of version {excerpt(str(version), 20)}, but this glmimg reads versions up to {VERSION}",
            "Update glmimg: git pull, in the checkout.",
        )
    try:
        return TokenDump.model_validate(document)
    except ValidationError as error:
        raise BadDump(name, f"is not a valid token dump: {problem_of(error)}") from error


def _check_bounds(raw: bytes, name: Path | str) -> None:
    """Refuse files that would take too much time or memory to parse.

    A parser's memory grows with the number of values, and every value but the innermost of a nest
    follows a comma or an opening bracket; the faults it can find grow with the keys, each before a
    colon. Counting those bytes bounds both.
    raises: BadDump (exit 3)
    """
    if len(raw) > MAX_BYTES:
        raise BadDump(name, f"is over {MAX_BYTES // 2**20} MiB, too large for a token dump")
    if len(raw) > MAX_WIDE_BYTES and not raw.isascii():
        raise BadDump(name, f"is over {MAX_WIDE_BYTES // 2**20} MiB and not ASCII, too much text for a token dump")
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadDump(name, f"holds over {MAX_VALUES:,} values, too many for a token dump")
    if raw.count(b":") > MAX_COLONS:
        raise BadDump(name, f"holds over {MAX_COLONS:,} colons, too many for a token dump")


def _check_text(raw: bytes, name: Path | str) -> None:
    """Refuse empty files, and text that some editors save instead of plain UTF-8. Raises BadDump (exit 3)."""
    if not raw or raw.isspace():
        raise BadDump(name, "is empty, not a token dump")
    if raw.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadDump(name, "begins with a byte order mark; dumps are plain UTF-8", "Save it as UTF-8 without one.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate keys. Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a duplicate key, and readers would differ in which one they use")
    return found


def _tokens_of(picture: bytes, name: Path | str) -> bytes:
    try:
        texts = read_texts(name, picture)
    except BadImage as error:
        raise BadDump(name, error.reason, error.hint) from error
    if TOKENS in texts:
        return texts[TOKENS].encode()
    again = f"Draw it again from its metadata: glmimg replay {shell_words(name)}"
    raise BadDump(name, "is a picture that carries no tokens", again if PROVENANCE in texts else NO_METADATA)


def write_dump(dump: TokenDump, path: Path, *, replace: bool = True) -> None:
    """Write a dump atomically. Raises as `write_atomically`."""
    write_atomically(path, dump.to_json().encode(), replace=replace)


def check_fits_model(dump: TokenDump, path: Path | str, *, codebook_size: int) -> None:
    """Refuse a dump whose codebook differs from that of the decoder that is to paint it. Raises BadDump (exit 3)."""
    if dump.model.codebook_size != codebook_size:
        raise BadDump(
            path,
            f"was written by {dump.model.id} with a codebook of {dump.model.codebook_size}, "
            f"but this model has {codebook_size}",
            f"Decode it with the model that wrote it: --model {dump.model.id}",
        )


def check_has_grid(dump: TokenDump, path: Path | str, role: Role) -> None:
    """Refuse a dump that lacks the grid to be painted. Raises BadDump (exit 3)."""
    if role not in [grid.role for grid in dump.grids]:
        if role != "target":
            raise BadDump(path, f"has no {role} grid", "Paint its target: leave out --grid.")
        name = shell_words(path)
        hint = f"Finish it: glmimg resume {name}   Or paint the draft: glmimg decode {name} --grid preview"
        raise BadDump(path, "has only a preview grid", hint)
