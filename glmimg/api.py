"""Both stages from Python: lists in, lists out, each half of the weights loaded once a call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmimg.engine.complete import complete
from glmimg.engine.local import LocalEngine, Order, PaintOrder
from glmimg.events import Watch, unwatched
from glmimg.image_io import Picture
from glmimg.job import ModelChoice, PaintSettings, Wish
from glmimg.preset import load_stack
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from glmimg.tokens.dump import TokenDump


def write_tokens(
    prompts: Sequence[str],
    model: str | None = None,
    *,
    sources: Sequence[str | Path] = (),
    preset: str = "default",
    watch: Watch = unwatched,
    **wish: Any,
) -> list[TokenDump]:
    """Stage 1: a token dump for each prompt.

    model:   a hub id, a directory or "demo"; None is $GLMIMG_MODEL, else zai-org/GLM-Image
    sources: picture files; with them every prompt is an edit of these pictures
    wish:    fields of `Wish`: size ("768x1152"), seed, temperature, top_p
    raises:  UsageError for a bad wish, BadImage for a bad source, ModelError for a missing or unfit checkpoint
    """
    engine, orders = _orders(prompts, model, sources, preset, watch, wish)
    return [written.dump for written in engine.write(orders)]


def paint(
    dumps: Sequence[TokenDump],
    model: str | None = None,
    *,
    preset: str = "default",
    watch: Watch = unwatched,
    **wish: Any,
) -> list[Picture]:
    """Stage 2: a picture from each token dump.

    wish:   fields of `Wish`: steps, guidance, dit_seed (else each dump's own seed)
    raises: BadDump for a dump of another codebook, else as `write_tokens`
    """
    said = Wish.of(wish).over(load_stack([preset]).wish)
    orders = [PaintOrder(dump, PaintSettings.of(said, dump.seed)) for dump in dumps]
    engine = LocalEngine(resolve(model), ModelChoice(model or ""), watch=watch)
    return [painted.picture for painted in engine.paint(orders)]


def draw(
    prompts: Sequence[str],
    model: str | None = None,
    *,
    sources: Sequence[str | Path] = (),
    preset: str = "default",
    watch: Watch = unwatched,
    **wish: Any,
) -> list[Picture]:
    """Both stages: a picture from each prompt; `picture.image` is a PIL image, `picture.making` how it was made."""
    engine, orders = _orders(prompts, model, sources, preset, watch, wish)
    return [painted.picture for painted in engine.draw(orders)]


def _orders(
    prompts: Sequence[str],
    model: str | None,
    sources: Sequence[str | Path],
    preset: str,
    watch: Watch,
    wish: dict[str, Any],
) -> tuple[LocalEngine, list[Order]]:
    stack, checkpoint = load_stack([preset]), resolve(model)
    said = Wish.of(wish).over(stack.wish)
    shelf = SourceShelf()
    refs = [shelf.take(Path(path), checkpoint.source_bounds).ref for path in sources]
    jobs = [complete(said.model_copy(update={"prompt": stack.fill(prompt)}), checkpoint, refs) for prompt in prompts]
    return LocalEngine(checkpoint, ModelChoice(model or ""), watch=watch, shelf=shelf), [Order(job) for job in jobs]
