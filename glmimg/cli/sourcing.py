"""From `-i`, `--from` and `--source` to prepared source pictures, all checked before anything loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from glmimg.cli.console import Console
from glmimg.errors import UsageError

if TYPE_CHECKING:
    from glmimg.image_io import Making
    from glmimg.job import Fit, SourceRef
    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.sources import PreparedSource, SourceShelf


@dataclass(frozen=True)
class SourceWish:
    """What the command line says about source pictures; None is not said.

    elsewhere: files among which to look for sources that are not where a picture or dump says
    """

    paths: Sequence[Path] = ()
    fit: str | None = None
    background: str | None = None
    elsewhere: Sequence[Path] = ()


@dataclass(frozen=True)
class Replayed:
    """A picture to make again, and how it was made."""

    path: Path
    making: Making


def gather_sources(
    wish: SourceWish, checkpoint: Checkpoint, console: Console, replayed: Replayed | None = None
) -> tuple[list[SourceRef], SourceShelf]:
    """Prepare every source of a command, given or replayed, and say what was done to them.

    raises: UsageError (exit 2), BadImage (exit 3), ModelUnfit (exit 4)
    """
    from glmimg.sources import SourceShelf
    from glmimg.sources.prepare import WHITE

    fit, background = check_fit(wish.fit), check_background(wish.background)
    shelf = SourceShelf(wish.elsewhere)
    prepared: list[PreparedSource] = []
    if wish.paths:
        bounds = checkpoint.source_bounds
        prepared = [shelf.take(path, bounds, fit or "pad", background or WHITE) for path in wish.paths]
    elif replayed is not None:
        prepared = [
            _take_again(ref, replayed.path, shelf, checkpoint, fit, background) for ref in replayed.making.job.sources
        ]
    for source in prepared:
        for note in source.notes:
            console.note(f"{source.ref.path}: {note}")
    return [source.ref for source in prepared], shelf


def _take_again(
    ref: SourceRef, picture: Path, shelf: SourceShelf, checkpoint: Checkpoint, fit: Fit | None, background: str | None
) -> PreparedSource:
    """A source of a picture to make again: as it was prepared then, unless flags or another model say otherwise."""
    found = shelf.find(ref, picture, f"Point to it again: glmimg edit --from {picture} --source PATH")
    as_it_was = checkpoint.source_bounds.admit(ref.height, ref.width) and fit is None and background is None
    if as_it_was:
        return found
    return shelf.take(
        Path(found.ref.path), checkpoint.source_bounds, fit or ref.fit or "pad", background or ref.background
    )


def check_fit(fit: str | None) -> Literal["pad", "crop"] | None:
    """Raises UsageError (exit 2) for anything but pad and crop."""
    if fit not in (None, "pad", "crop"):
        raise UsageError(f"--fit {fit}: there is no such way", "Use --fit pad or --fit crop.")
    return cast("Literal['pad', 'crop'] | None", fit)


def check_background(colour: str | None) -> str | None:
    """A colour as Pillow knows it (white, #fff, rgb(0, 90%, 0)) to `#rrggbb`. Raises UsageError (exit 2)."""
    if colour is None:
        return None
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise UsageError(f"--background {colour}: no such colour", "For example white, or #ff8800.") from error
    return f"#{red:02x}{green:02x}{blue:02x}"
