"""Token dumps on disk: read with every check before use, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from glmimg.atomic import write_atomically
from glmimg.errors import BadDump, BadImage
from glmimg.files import open_regular
from glmimg.metadata import NO_METADATA, PROVENANCE, TOKENS, read_texts
from glmimg.pictures import is_picture
from glmimg.request import problem_of
from glmimg.text import excerpt, shell_words
from glmimg.tokens.dump import FORMAT, VERSION, TokenDump
from glmimg.tokens.guard import MAX_BYTES, check_bounds, check_text, unique_keys

SCHEMA = Path(__file__).with_name(f"dump-v{VERSION}.schema.json")
"""The JSON Schema of a dump, as it is shipped."""


def read_dump(path: Path) -> TokenDump:
    """Read and check a dump, or the one a picture of ours carries.

    raises: BadDump (exit 3) for anything that is not a whole, valid dump of a known version
    """
    with open_regular(path, BadDump, "token dump") as file:
        return parse_dump(file.read(MAX_BYTES + 1), path)


def parse_dump(raw: bytes, name: Path | str) -> TokenDump:
    """A dump from its bytes, or from those of a picture; `name` stands in the error message. Raises as `read_dump`."""
    if is_picture(raw):
        raw = _tokens_of(raw, name)
    check_bounds(raw, name)
    check_text(raw, name)
    # Parsed once and then checked as Python objects: checking JSON text copies the faulty part into every fault.
    try:
        document = json.loads(raw.decode(), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        hint = "Copy it again if it was cut off on its way here; else draw it again: glmimg tokens PROMPT"
        raise BadDump(name, f"is not whole JSON ({excerpt(str(error))})", hint) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadDump(name, "is JSON, but not a token dump (no 'format': 'glmimg.tokens')")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BadDump(
            name,
            f"is of version {excerpt(str(version), 20)}, and this glmimg reads versions up to {VERSION}",
            "Update glmimg: pip install --upgrade glmimg",
        )
    try:
        return TokenDump.model_validate(document)
    except ValidationError as error:
        raise BadDump(name, f"is not a valid token dump: {problem_of(error)}") from error


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
    """Write a dump whole or not at all. Raises as `write_atomically`."""
    write_atomically(path, dump.to_json().encode(), replace=replace)


def check_fits_model(dump: TokenDump, path: Path | str, *, codebook_size: int) -> None:
    """Refuse a dump of another codebook than that of the decoder about to paint it. Raises BadDump (exit 3)."""
    if dump.model.codebook_size != codebook_size:
        raise BadDump(
            path,
            f"was written by {dump.model.id} with a codebook of {dump.model.codebook_size}, "
            f"this model has {codebook_size}",
            f"Decode it with the model that wrote it: --model {dump.model.id}",
        )
