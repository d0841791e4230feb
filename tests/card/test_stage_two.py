"""Stage 2 on the pretended card: a graph is of a shape, and serves every picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glmimg.events import unwatched
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import Source, TokenDump
from tests.dumps import dump, grid
from tests.jobs import make_painting

WINDOW = make_painting(4, 3, 1.5, guidance_window=(0.0, 0.5))
"""Steps of two shapes: with and without the second branch."""

WIDE, OTHER, TALL = dump([[1, 2]]), dump([[3, 4]], prompt="a blue square", seed=2), dump([[1], [2]])
QUOTED = dump([[1, 2]], prompt="a sign that says 'OPEN'")


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is captured from now on."""
    from glmimg.dit import blocks

    known, capture = list[Any](), blocks.capture

    def listen(*given: Any, **more: Any) -> Any:
        known.append(given)
        return capture(*given, **more)

    monkeypatch.setattr(blocks, "capture", listen)
    return known


def paint_all(
    folder: Path,
    dumps: list[TokenDump],
    *,
    captured: bool,
    layout: Layout = Layout(),
    shelf: SourceShelf | None = None,
) -> tuple[list[np.ndarray], int]:
    """The pictures of one stage on the card, as captured or plain; and how many graphs it still has in the end."""
    from glmimg.dit.stage import DiTStage
    from tests.card.card import Card

    with Card():
        placement = Placement(torch.device("cuda:0"), torch.float32)
        stage = DiTStage.load(Checkpoint("tiny", folder), placement, unwatched, shelf, layout)
        stage.parts.is_compiled = captured  # the compiler knows nothing of this card
        pictures = [stage.paint(each, WINDOW, unwatched) for each in dumps]
        stage.close()
        return [np.asarray(each) for each in pictures], len(stage._captured)


def test_pictures_of_a_shape_share_a_graph(libraries: None, tiny: Path, captures: list[Any]) -> None:
    """Also those of other words, seed and tokens; a turned picture has as many patches, in other places."""
    dumps = [WIDE, OTHER, TALL, WIDE]
    pictures, left = paint_all(tiny, dumps, captured=True)
    assert len(captures) == 2
    assert left == 0
    plain, _ = paint_all(tiny, dumps, captured=False)
    assert len(captures) == 2
    for one, other in zip(pictures, plain, strict=True):
        assert np.array_equal(one, other)


def test_glyphs_of_another_length_are_another_shape_and_few_are_kept(
    libraries: None, tiny: Path, captures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmimg.dit import blocks

    monkeypatch.setattr(blocks, "GRAPHS_KEPT", 3)
    paint_all(tiny, [WIDE, QUOTED, QUOTED, WIDE], captured=True)
    assert len(captures) == 2 + 2 + 2, "WIDE's first graph had to go for QUOTED's, and its second for the first"


def test_what_is_kept_of_source_pictures_stays_with_its_picture(
    libraries: None, tiny: Path, captures: list[Any], tmp_path: Path
) -> None:
    checkpoint, shelf, edits = Checkpoint("tiny", tiny), SourceShelf(), list[TokenDump]()
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
        ref = shelf.take(tmp_path / f"{colour}.png", checkpoint.source_bounds).ref
        source = Source(**ref.model_dump(), grid=grid("source", [[1, 2], [3, 4]]))
        edits.append(dump([[1, 2]], sources=[source], grids=[grid("target", [[1, 2]])]))
    pictures, _ = paint_all(tiny, edits, captured=True, shelf=shelf)
    assert len(captures) == 4
    plain, _ = paint_all(tiny, edits, captured=False, shelf=shelf)
    assert all(map(np.array_equal, pictures, plain))
    assert not np.array_equal(*plain)


def test_parts_that_take_turns_take_their_graphs_with_them(libraries: None, tiny: Path, captures: list[Any]) -> None:
    paint_all(tiny, [WIDE, OTHER], captured=True, layout=Layout(taking_turns=True))
    assert len(captures) == 4
