"""Run the edits of `edit_cases` through the stock pipeline and keep its tokens and pixels.

Only where it works unmodified, which is with transformers before 5.18; tests/oldest.txt names such a pair:

    python -m venv /tmp/oldest
    /tmp/oldest/bin/pip install -c tests/oldest.txt ".[test]"
    /tmp/oldest/bin/python -m tests.stages.golden.make_edit_goldens
"""

from __future__ import annotations

import json
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.stages.edit_cases import CASES, GOLDEN, EditCase, arithmetic, source_picture, weights_digest
from tests.stages.stock import stock_pipeline
from tests.tiny import build_checkpoint


def run_stock(folder: Path, case: EditCase) -> dict[str, Any]:
    """Tokens of the sources and of the new picture; its pixels go to a PNG beside."""
    pipeline = stock_pipeline(folder)
    pictures = [source_picture(*size) for size in case.sources]
    target, source_ids, source_shapes = pipeline.generate_prior_tokens(
        case.prompt, case.height, case.width, image=[pictures], generator=torch.Generator().manual_seed(case.seed)
    )
    cells = source_ids[0].split(source_shapes[0].prod(-1).tolist())
    shapes = [(rows, columns) for _, rows, columns in source_shapes[0].tolist()]
    picture = pipeline(
        case.prompt,
        image=pictures,
        height=case.height,
        width=case.width,
        num_inference_steps=case.steps,
        guidance_scale=case.guidance,
        generator=torch.Generator().manual_seed(case.seed),
    ).images[0]
    picture.save(GOLDEN / f"edit-{case.name}.png", optimize=True)
    return {
        "target": _d32(target, case.height // 16, case.width // 16),
        "sources": [_d32(ids, *shape) for ids, shape in zip(cells, shapes, strict=True)],
    }


def _d32(upsampled: torch.Tensor, rows: int, columns: int) -> list[list[int]]:
    grid: list[list[int]] = upsampled.view(rows, columns)[::2, ::2].tolist()
    return grid


def main() -> None:
    folder = build_checkpoint(Path(tempfile.mkdtemp()))
    golden = {
        "made with": {name: version(name) for name in ("torch", "transformers", "diffusers", "pillow")},
        "arithmetic": arithmetic(),
        "weights": weights_digest(folder),
        "cases": {case.name: run_stock(folder, case) for case in CASES},
    }
    text = re.sub(r"\[\s+([\d,\s]+?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", json.dumps(golden, indent=1))
    (GOLDEN / "edit.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
