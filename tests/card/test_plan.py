"""The plan against what the pretended card counts, at the real model's widths and for three layers and blocks of it.

Working memory does not know how many layers there are, and weights and what is kept of source pictures grow with them
as the plan says: few layers leave less for working memory to hide behind. `resident` has the heights of `stage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.estimate import Need, Request, ar_need, dit_need
from glmimg.runtime.layout import PLANS
from glmimg.runtime.sizes import ar_sizes, dit_sizes
from glmimg.sources import SourceShelf
from tests.card.height import Size
from tests.jobs import make_painting

SIZES = [(512, 512), (1024, 1024), (1152, 768), (768, 1344), (2048, 2048)]
GUIDED = make_painting(1, 1, 1.5)


def request(size: Size, sources: Sequence[Size] = (), **more: bool) -> Request:
    return Request(*size, "bf16", on_host=False, sources=tuple(sources), **more)  # type: ignore[arg-type]


def check(need: Need, counted: int, what: object) -> None:
    """The driver's own memory is nothing the card can count."""
    planned = need.peak - need.base
    assert planned == pytest.approx(counted, rel=0.05), f"{what}: {planned / 1e9:.2f} GB, counted {counted / 1e9:.2f}"


@pytest.mark.parametrize("mode", ["stage", "stream"])
def test_stage_1(mode: str, libraries: None, shallow: Path) -> None:
    from tests.card.card import Card
    from tests.card.height import height_of_tokens, load_tokens

    layout, sizes = PLANS[mode].ar, ar_sizes(Checkpoint("shallow", shallow))
    for counts in ((0,), (1, 2)):
        with Card(payload="meta") as card:
            stage = load_tokens(shallow, layout, with_vision=counts != (0,))
            for size in SIZES:
                for count in counts:
                    counted = height_of_tokens(card, stage, size, [size] * count)
                    check(ar_need(sizes, request(size, [size] * count), layout), counted, (mode, size, count))
            stage.close()


@pytest.mark.parametrize("mode", ["stage", "offload", "stream"])
def test_stage_2(mode: str, libraries: None, shallow: Path, tmp_path: Path) -> None:
    from tests.card.card import Card
    from tests.card.height import edit_of, height_of_picture, load_painter

    layout, sizes, shelf = PLANS[mode].dit, dit_sizes(Checkpoint("shallow", shallow)), SourceShelf()
    for counts in ((0,), (1, 2)):
        with Card(payload="meta") as card:
            stage = load_painter(shallow, layout, shelf, with_encoder=counts != (0,))
            for size in SIZES:
                for count in counts:
                    edit = edit_of(size, [size] * count, shelf, tmp_path)
                    counted = height_of_picture(card, stage, edit, GUIDED)
                    check(dit_need(sizes, request(size, [size] * count), layout), counted, (mode, size, count))
            stage.close()


@pytest.mark.parametrize(
    ("size", "sources", "guidance", "one_batch"),
    [
        ((1024, 1024), [], 1.0, False),
        ((1024, 1024), [(512, 768)], 1.5, True),
        ((512, 512), [(2048, 2048), (1024, 512)], 1.5, False),
    ],
    ids=["unguided", "one batch", "large sources"],
)
def test_the_denoising_alone(
    size: Size, sources: list[Size], guidance: float, one_batch: bool, libraries: None, shallow: Path, tmp_path: Path
) -> None:
    """Parts that take turns, and a VAE in strips, which would be the height otherwise."""
    from tests.card.card import Card
    from tests.card.height import edit_of, height_of_picture, load_painter

    layout, shelf = replace(PLANS["offload"].dit, vae_strips=True), SourceShelf()
    need = dit_need(
        dit_sizes(Checkpoint("shallow", shallow)),
        request(size, sources, guided=guidance > 1, one_batch=one_batch),
        layout,
    )
    with Card(payload="meta") as card:
        stage = load_painter(shallow, layout, shelf, with_encoder=bool(sources))
        painting = make_painting(1, 1, guidance, guidance_batch=one_batch)
        counted = height_of_picture(card, stage, edit_of(size, sources, shelf, tmp_path), painting)
        stage.close()
    check(need, counted, size)
