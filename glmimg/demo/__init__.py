"""The embedded demo model: a GLM-Image of about eight million parameters that draws flat shapes.

`demo_path()` is its entry point; `python -m glmimg.demo.train` is the recipe that trained the weights.
"""

from pathlib import Path


def demo_path() -> Path:
    """Folder of the demo checkpoint, in the diffusers layout of GLM-Image (`model_index.json` at its top)."""
    return Path(__file__).resolve().parent / "model"
