"""The JSON Schema of a token dump, generated from the code that reads it.

What a schema cannot say stays with the reader: that rows fit the size, and ids the codebook.
"""

from __future__ import annotations

import json
from pathlib import Path

from glmimg.tokens.dump import VERSION, TokenDump

SCHEMA_PATH = Path(__file__).with_name(f"dump-v{VERSION}.schema.json")
"""The schema as it is shipped."""


def build_schema() -> str:
    """The schema (draft 2020-12) as JSON text with a final line break."""
    schema = TokenDump.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "glmimg token dump"}
    head["required"] = ["format", "version", *schema["required"]]
    return json.dumps(head, indent=1, ensure_ascii=False) + "\n"


def read_schema() -> str:
    """The shipped schema."""
    return SCHEMA_PATH.read_text(encoding="utf-8")
