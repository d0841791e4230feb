"""t2i against a plain script around the stock pipeline, whole processes: `python -m tests.bench.whole`.

A random checkpoint of about 400 MB (fp32) each half; same prompt, size, steps and seed. The pixels
must be equal, or the comparison means nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.bench.processes import compare, glmimg, keep
from tests.tiny import MID_SIZE, build_checkpoint

PROMPT, SIDE, STEPS, SEED = "a sign that says 'OPEN'", 256, 4, 1

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = build_checkpoint(folder / "model", MID_SIZE)
        ours, theirs = folder / "ours.png", folder / "theirs.png"
        figures = compare(
            glmimg("t2i", PROMPT, "-m", model, "-s", f"{SIDE}x{SIDE}", "--steps", str(STEPS), "--seed", str(SEED),
                   "-o", ours, "-f", "-q"),
            [sys.executable, "-m", "tests.bench.stock_script", str(model), PROMPT, str(SIDE), str(STEPS), str(SEED),
             str(theirs)],
            runs=int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        )  # fmt: skip
        same = Image.open(ours).tobytes() == Image.open(theirs).tobytes()
        halves = {
            half: round(
                sum(file.stat().st_size for part in parts for file in (model / part).glob("*.safetensors")) / 1e6
            )
            for half, parts in (("ar", ["vision_language_encoder"]), ("dit", ["transformer", "text_encoder", "vae"]))
        }
        keep("whole", {**figures, "same_pixels": same, "weights_mb": halves})
