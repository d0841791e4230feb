"""How much memory each stage takes at its height, counted on a pretended card that holds shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from glmimg.choice import ModelChoice
from glmimg.events import unwatched
from glmimg.grid import preview_shape, target_shape
from glmimg.job import Painting
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.sources import SourceShelf
from glmimg.sources.prepare import SourceBounds
from glmimg.tokens.dump import Grid, Source, TokenDump
from tests.dumps import dump

Size = tuple[int, int]
WORDS = 128
"""Tokens of a prompt, as a plan assumes them."""

ANY = SourceBounds(32, 4096)


def on_the_card() -> Placement:
    return Placement(torch.device("cuda:0"), torch.bfloat16)


def edit_of(size: Size, sources: Sequence[Size], shelf: SourceShelf, folder: Path) -> TokenDump:
    """A dump of this size, drawn from pictures of one colour."""
    found = []
    for number, (height, width) in enumerate(sources):
        path = folder / f"{number}-{width}x{height}.png"
        if not path.exists():
            Image.new("RGB", (width, height), "red").save(path)
        ref = shelf.take(path, ANY).ref
        found.append(Source(**ref.model_dump(), grid=_blank("source", (height, width))))
    return dump([[0]]).model_copy(
        update={"grids": [_blank("target", size)], "height": size[0], "width": size[1], "sources": found}
    )


def prompt_of(size: Size, sources: Sequence[Size] = ()) -> Any:
    """A prompt of so many words and source pictures, on the card."""
    from glmimg.ar.prompt import ARPrompt, Grids, grid_positions

    target = target_shape(*size)
    grids: Grids = (("target", target),) if sources else (("preview", preview_shape(target)), ("target", target))
    length = WORDS + sum(target_shape(*source).cells for source in sources)
    ids = torch.zeros(1, length, dtype=torch.int64).to("cuda:0")
    places = torch.zeros(3, 1, length, dtype=torch.int64).to("cuda:0")
    after = grid_positions(length, [shape for _, shape in grids]).to("cuda:0")
    return ARPrompt(ids, torch.ones_like(ids), places, after, grids)


def count_token(card: Any, folder: Path, way: str = "none", size: Size = (512, 512)) -> tuple[Any, Any, int]:
    """What one token takes by default: counts, what made the host wait, weights of the layers and the head."""
    stage = load_tokens(folder, Layout(quantize=way), with_vision=False, choice=ModelChoice(quantize=way))
    text = stage.model.model.language_model
    weights = sum(weight.numel() for layer in (*text.layers, stage.model.lm_head) for weight in layer.parameters())
    with torch.inference_mode():
        prompt = prompt_of(size)
        decoder = stage._decoder([prompt], prompt.new_tokens)
        token = torch.zeros(1, 1, dtype=torch.int64, device="cuda:0")
        card.counts.reset()
        card.events.clear()
        decoder.step(token, 0)
    waits = {name: count for name, count in card.events.items() if name != "graph replay"}
    stage.close()
    return card.counts, waits, weights


def height_of_tokens(card: Any, stage: Any, size: Size, sources: Sequence[Size]) -> int:
    """The most bytes while sources and prompt are read and the first tokens are drawn."""
    from glmimg.ar.prompt import read_codes

    card.counts.reset()
    with torch.inference_mode():
        for source in sources:
            shape = target_shape(*source)
            patches = torch.zeros(shape.cells, 3 * 16 * 16, dtype=torch.bfloat16).to("cuda:0")
            read_codes(stage.model, "source", patches, torch.tensor([[1, *shape]]).to("cuda:0"))
        prompt = prompt_of(size, sources)
        decoder = stage._decoder([prompt], prompt.new_tokens)
        decoder.step(torch.zeros(1, 1, dtype=torch.int64).to("cuda:0"), 0)
    return int(card.counts.peak)


def height_of_picture(card: Any, stage: Any, edit: TokenDump, painting: Painting) -> int:
    """The most bytes while a picture is painted."""
    stage.sources._latents.clear()
    card.counts.reset()
    stage.paint(edit, painting, unwatched)
    return int(card.counts.peak)


PLAIN = ModelChoice(compile=False)
"""Un-captured: a graph of the pretended card holds all that it captured."""


def load_tokens(folder: Path, layout: Layout, *, with_vision: bool, choice: ModelChoice = PLAIN) -> Any:
    """Stage 1 of a checkpoint on the card."""
    from glmimg.ar.stage import ARStage

    return ARStage(
        Checkpoint("full", folder), on_the_card(), unwatched, choice=choice, layout=layout, with_vision=with_vision
    )


def load_painter(folder: Path, layout: Layout, shelf: SourceShelf, *, with_encoder: bool) -> Any:
    """Stage 2 of a checkpoint on the card."""
    from glmimg.dit.stage import DiTStage

    return DiTStage.load(Checkpoint("full", folder), on_the_card(), unwatched, shelf, layout, with_encoder=with_encoder)


def _blank(role: Any, size: Size) -> Grid:
    shape = target_shape(*size)
    return Grid.from_flat(role, shape, [0] * shape.cells)
