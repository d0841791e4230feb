"""edit against a plain script around the stock pipeline: `python -m tests.bench.edit OLD_PYTHON [RUNS]`.

OLD_PYTHON is an interpreter with the oldest pair of tests/oldest.txt, since the stock pipeline's edits crash on
later ones. A random checkpoint of about 400 MB (fp32) each half, two sources of unlike sizes; same prompt, steps
and seed. The pixels must be equal, or the comparison means nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.bench.processes import compare, glmimg, keep
from tests.pictures import gradient
from tests.tiny import MID_SIZE, build_checkpoint

PROMPT, STEPS, SEED = "put 'A' on the background of B", 4, 1
SIZES = ((256, 256), (320, 192))

if __name__ == "__main__":
    old_python, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = build_checkpoint(folder / "model", MID_SIZE)
        sources = [folder / f"{width}x{height}.png" for width, height in SIZES]
        for path, size in zip(sources, SIZES, strict=True):
            gradient(*size).save(path)
        ours, theirs = folder / "ours.png", folder / "theirs.png"
        given = [argument for path in sources for argument in ("-i", path)]
        figures = compare(
            glmimg("edit", PROMPT, *given, "-m", model, "--steps", str(STEPS), "--seed", str(SEED), "-o", ours,
                   "-f", "-q"),
            [old_python, "-m", "tests.bench.stock_edit", str(model), PROMPT, str(STEPS), str(SEED), str(theirs),
             *map(str, sources)],
            runs=int(rest[0]) if rest else 3,
        )  # fmt: skip
        same = Image.open(ours).tobytes() == Image.open(theirs).tobytes()
        keep("edit", {**figures, "same_pixels": same})
