"""The embedded demo model: a GLM-Image of about eight million parameters that draws flat shapes.

`demo_path()` is the door; the recipe that trained the weights is `python -m glmimg.demo.train`.
"""

from pathlib import Path


def demo_path() -> Path:
    """Folder of the demo checkpoint, in the diffusers layout of GLM-Image (`model_index.json` at its top)."""
    return Path(__file__).resolve().parent / "model"
