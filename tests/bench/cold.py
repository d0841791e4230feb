"""From the start of t2i to its first token, against the imports stage 1 cannot do without.

`python -m tests.bench.cold [RUNS]`. Whole processes with the demo; the first run of each, which fills the
system's cache, is not counted. Both end at once when they are there, without tidying up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from tests.bench.processes import compare, keep

IMPORTS = """
import os, torch
from transformers import GlmImageForConditionalGeneration, GlmImageProcessor
os._exit(0)
"""
UNTIL_FIRST_TOKEN = "until-first-token"


def draw_until_first_token() -> None:
    """`glmimg t2i` as it is, but for a decode loop that ends the process instead of yielding."""
    import glmimg.ar.decode_loop as decode_loop
    from glmimg.__main__ import main

    write_tokens = decode_loop.write_tokens

    def one_token(*arguments: Any) -> Iterator[Any]:
        for _ in write_tokens(*arguments):
            os._exit(0)
        yield

    decode_loop.write_tokens = one_token
    sys.argv = ["glmimg", "t2i", "a red circle on a blue background", "-m", "demo", "-o", os.devnull, "-f", "-q"]
    main()


if __name__ == "__main__":
    if sys.argv[1:] == [UNTIL_FIRST_TOKEN]:
        draw_until_first_token()
    figures = compare(
        [sys.executable, "-m", "tests.bench.cold", UNTIL_FIRST_TOKEN],
        [sys.executable, "-c", IMPORTS],
        runs=int(sys.argv[1]) if len(sys.argv) > 1 else 5,
    )
    above = round(figures["wall_ours_s"] - figures["wall_theirs_s"], 3)
    keep("cold", {"above_imports_s": above, **figures})
