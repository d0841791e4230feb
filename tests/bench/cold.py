"""From the start of t2i to its first token, against importing the two model classes.

    python -m tests.bench.cold [RUNS]

Whole processes with the demo, in turn; the first run of each, which fills the system's cache, is not counted. All end
at once when they are there, without tidying up. `stage_1` is against what stage 1 alone cannot do without.
"""

from __future__ import annotations

import sys

from tests.bench.processes import compare, keep

STAGE_1 = """
import os, torch
from transformers import GlmImageForConditionalGeneration, GlmImageProcessor
os._exit(0)
"""
BOTH = """
import os, torch
from transformers import GlmImageForConditionalGeneration
from diffusers import GlmImageTransformer2DModel
os._exit(0)
"""
FIRST_TOKEN = """
import os, sys
from glmimg.__main__ import main
from glmimg.engine.stages import CheckpointStages

load_tokens = CheckpointStages.load_tokens

def load(*arguments):
    stage = load_tokens(*arguments)
    import glmimg.ar.stage
    write_tokens = glmimg.ar.stage.write_tokens

    def one_token(*arguments):
        for _ in write_tokens(*arguments):
            os._exit(0)
        yield

    glmimg.ar.stage.write_tokens = one_token
    return stage

CheckpointStages.load_tokens = load
sys.argv = ["glmimg", "t2i", "a red circle on a blue background", "-m", "demo", "-o", os.devnull, "-f", "-q"]
main()
"""
"""`glmimg t2i` as it is, but for a decode loop that ends the process where it would yield its first token."""

if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    first_token, stage_1, both = ([sys.executable, "-c", script] for script in (FIRST_TOKEN, STAGE_1, BOTH))
    keep(
        "cold",
        {"both_classes": compare(first_token, both, runs=runs), "stage_1": compare(first_token, stage_1, runs=runs)},
    )
